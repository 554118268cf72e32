//! Host names, as clients in a namespace look them up (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>).

use std::sync::Arc;

use super::{Named, Similar, TargetError};
use crate::{
    store::Snapshot,
    workload::{ObjectName, Service, Workload},
};

/// `NAME.NAMESPACE`, with or without what follows; a pod's `HOST.` before that of a headless service; a host outside.
pub(super) fn host(
    snapshot: &Snapshot,
    client: Option<&Workload>,
    text: &str,
) -> Result<Named, TargetError> {
    let text = &*text.trim_end_matches('.').to_ascii_lowercase();
    let namespace = client.map(Workload::namespace);
    // What resolvers try first: `search` in the pod's resolv.conf.
    let within = namespace.and_then(|namespace| inside(snapshot, &format!("{text}.{namespace}")));
    let outside = || {
        let named = snapshot.service_named(namespace.unwrap_or_default(), text);
        let of_any = || snapshot.services().find(|service| service.host == text);
        named.or_else(of_any).cloned().map(Named::Service)
    };
    let found = within.or_else(outside).or_else(|| inside(snapshot, text));
    let wild = || of_wildcard(snapshot, text).cloned().map(Named::Service);
    found
        .or_else(wild)
        .ok_or_else(|| TargetError::UnknownHost(Similar::hosts(snapshot, text), text.to_owned()))
}

/// A service of the cluster, or a pod of a headless one.
fn inside(snapshot: &Snapshot, text: &str) -> Option<Named> {
    if let Some(service) = service(snapshot, text) {
        return Some(Named::Service(Arc::clone(service)));
    }
    let (host, rest) = text.split_once('.')?;
    let service = service(snapshot, rest)?;
    if !service.virtual_addresses.is_empty() {
        return None;
    }
    let endpoints = service.endpoints();
    let mut pods = endpoints.filter_map(|endpoint| snapshot.workload_at(endpoint.address));
    let named = &snapshot.bystanders;
    let pod = pods.find(|pod| named.is_host(&pod.name, host, &service.name))?;
    Some(Named::Pod(Arc::clone(pod)))
}

/// `NAME.NAMESPACE`, and as much as is written of what follows.
fn service<'s>(snapshot: &'s Snapshot, text: &str) -> Option<&'s Arc<Service>> {
    let mut parts = text.split('.');
    let (name, namespace) = parts.next().zip(parts.next())?;
    let service = snapshot.service(&ObjectName::new(namespace, name))?;
    let rest = service.host.strip_prefix(text)?;
    let is_whole = rest.is_empty() || rest.starts_with('.');
    (service.outside.is_none() && is_whole).then_some(service)
}

/// The host outside that is written `*.` and the end of this one; of several the longest.
fn of_wildcard<'s>(snapshot: &'s Snapshot, text: &str) -> Option<&'s Arc<Service>> {
    let matching = snapshot.services().filter(|service| {
        let end = service.host.strip_prefix('*');
        service.outside.is_some() && end.is_some_and(|end| text.ends_with(end))
    });
    matching.max_by_key(|service| (service.host.len(), std::cmp::Reverse(&service.name)))
}
