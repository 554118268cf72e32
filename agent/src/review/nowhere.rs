//! Connections that end at nobody, and those that no agent gets to see: why.

use crate::{
    store::{Lead, Snapshot},
    workload::Service,
};

/// Why nobody takes a connection to a service without endpoints.
pub(super) fn nobody(lead: &Lead<'_>, service: &Service) -> String {
    let name = match service.outside {
        None => format!("service {}", service.name),
        Some(_) => format!("the ServiceEntry for {}", service.host),
    };
    if service.port(lead.port).is_none() {
        let known: Vec<_> = service.ports.iter().map(|p| p.port.to_string()).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        return format!("{name} has no port {}: it has {known}", lead.port);
    }
    match lead.routed.and_then(|routed| routed.subset) {
        _ if service.outside.is_some() => format!("{name} has no endpoint with an address"),
        Some(subset) => format!("{name} has no ready pod of subset {subset}"),
        None => format!("{name} has no ready pod"),
    }
}

/// Whether a connection to a service without endpoints is not refused: what a `ServiceEntry` doesn't speak of, and
/// hosts whose addresses nobody was asked for. `in_mesh`: its client is.
pub(super) fn is_let_through(
    snapshot: &Snapshot,
    in_mesh: bool,
    lead: &Lead<'_>,
    service: &Service,
) -> bool {
    if service.outside.is_none() {
        return false;
    }
    let undeclared = service.port(lead.port).is_none();
    let untouched = !in_mesh || (undeclared && lead.routed.is_none());
    let unasked = || !snapshot.is_in_force() && awaits_names(snapshot, service);
    untouched || (!undeclared && unasked())
}

/// Why connections to a host outside are not recognised, if so.
pub(super) fn unrecognised(snapshot: &Snapshot, service: &Service) -> Option<String> {
    if service.outside.is_none() || !service.virtual_addresses.is_empty() {
        return None;
    }
    let (host, namespace) = (&service.host, &service.name.namespace);
    if !awaits_names(snapshot, service) {
        return Some(format!(
            "the ServiceEntry for {host} in namespace {namespace} has no address by which connections to it could be \
             recognised: agents capture none of them"
        ));
    }
    // Once they have been asked, the answer is what counts.
    snapshot.is_in_force().then(|| {
        format!(
            "name servers have told no address of {host} yet: agents capture no connections to it"
        )
    })
}

/// Whether name servers are to say where connections to a host outside go, and have not.
pub(super) fn awaits_names(snapshot: &Snapshot, service: &Service) -> bool {
    let mut endpoints = service.endpoints();
    let mut entries = snapshot.documents.service_entries.iter().filter(|entry| {
        *entry.document().namespace == *service.name.namespace && entry.asks_for(&service.host)
    });
    service.outside.is_some() && endpoints.next().is_none() && entries.next().is_some()
}

/// Said to a client that doesn't know a host.
pub(super) fn private(service: &Service) -> String {
    format!(
        "the ServiceEntry for {} is for clients of namespace {} only (exportTo)",
        service.host, service.name.namespace
    )
}

/// Said of an answer that supposes addresses which nobody was asked for.
pub(super) fn supposed(service: &Service) -> String {
    format!(
        "note: no name server was asked for {}: this is for when its address is known",
        service.host
    )
}
