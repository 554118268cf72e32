//! `v1/Pod`.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use super::{
    BadField, FromObject,
    api::{self, Container, ObjectMeta, OwnerReference, PodSpec, PodStatus},
    metadata, probe, telemetry,
};
use crate::{
    control::{error::Problem, yaml::FieldPath},
    workload::{
        ContainerPort, Local, NetnsFile, Node, ObjectName, Pod, PodHost, PodTemplate, Sandbox,
    },
};

pub const INJECT: &str = "sealane.dev/inject";
const DATAPLANE: &str = "istio.io/dataplane-mode";
const SIDECAR: &str = "sidecar.istio.io/inject";
/// What Istio calls the container of its proxy.
const PROXY: &str = "istio-proxy";
/// Where a pod lives, in a directory of objects.
pub const NETNS: &str = "sealane.dev/netns";
pub const CGROUP: &str = "sealane.dev/cgroup";

/// In a mirror pod, what kubelet calls its static pod.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
const MD5_DIGITS: usize = 32;

pub type PodFacts = Pod;

impl FromObject for PodFacts {
    type Object = api::Pod;

    fn from_object(name: &ObjectName, pod: api::Pod) -> Result<Self, Vec<BadField>> {
        let api::Pod {
            metadata,
            spec,
            status,
        } = pod;
        let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
        let mut bad = Vec::new();
        let own_enrolment = own_enrolment(&metadata).unwrap_or_else(|error| {
            bad.push(error);
            None
        });
        let sandbox = sandbox(&metadata).unwrap_or_else(|error| {
            bad.push(error);
            None
        });
        let addresses = addresses(&status, &mut bad);
        let container_ports = container_ports(&spec, &mut bad);
        let containers = lasting(&spec).map(|(_, _, container)| container);
        let probe_ports = probe::ports(containers, &addresses);
        let own_proxy = lasting(&spec).any(|(_, _, c)| c.name.as_deref() == Some(PROXY));
        if !bad.is_empty() {
            return Err(bad);
        }
        let (sidecar, leaving) = (sidecar(&metadata), metadata.deletion_timestamp.is_some());
        let static_uid = static_uid(&metadata, spec.node_name.as_deref());
        let owner = controller(metadata.owner_references.as_deref().unwrap_or_default());
        let labels = metadata.labels.unwrap_or_default();
        let account = spec.service_account_name.as_deref();
        let account = account.filter(|account| !account.is_empty());
        let local = Local {
            uid: metadata.uid.map(Arc::from),
            static_uid: static_uid.map(Arc::from),
            sandbox: sandbox.map(Arc::new),
        };
        let template = PodTemplate {
            own_enrolment,
            sidecar,
            own_proxy,
            host_network: spec.host_network == Some(true),
            service_account: account.unwrap_or("default").into(),
            container_ports: container_ports.into(),
            probe_ports: probe_ports.into(),
            telemetry: Arc::new(telemetry::names(name, &labels, owner)),
            labels: Arc::new(labels),
        };
        Ok(Self {
            name: name.clone(),
            template: Arc::new(template),
            addresses: addresses.into(),
            local: Some(Box::new(local)),
            finished: is_finished(&status),
            ready: !leaving && is_ready(&status),
            leaving,
            created: metadata::seconds(metadata.creation_timestamp.as_ref()),
            host_name: host_name(name, &spec, owner).map(Box::new),
            node: Arc::new(Node {
                name: spec.node_name.unwrap_or_default().into(),
                address: status.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
            }),
        })
    }
}

/// From `hostname` and `subdomain`, as DNS of Kubernetes has it; the controller of stateful sets gives both to their pods
/// (<https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-hostname-and-subdomain-fields>). Of a
/// pod of which nobody says what made it, it is supposed to be such a one.
fn host_name(name: &ObjectName, spec: &PodSpec, owner: Option<&OwnerReference>) -> Option<PodHost> {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let service = said(&spec.subdomain);
    match said(&spec.hostname) {
        Some(host) => Some(PodHost {
            host,
            service: Some(service?),
        }),
        None => owner
            .is_none_or(|owner| owner.kind == "StatefulSet")
            .then(|| PodHost {
                host: name.name.to_string(),
                service,
            }),
    }
}

fn own_enrolment(metadata: &ObjectMeta) -> Result<Option<bool>, BadField> {
    let labels = metadata.labels.as_ref();
    let annotations = metadata.annotations.as_ref();
    for (map, path) in [
        (labels, "metadata.labels"),
        (annotations, "metadata.annotations"),
    ] {
        match map.and_then(|map| map.get(INJECT)).map(String::as_str) {
            None => {}
            Some("true") => return Ok(Some(true)),
            Some("false") => return Ok(Some(false)),
            Some(other) => {
                let field = FieldPath::of(path).key(INJECT);
                return Err(BadField::new(field, Problem::Inject(other.to_owned())));
            }
        }
    }
    let mode = labels.and_then(|labels| labels.get(DATAPLANE));
    Ok(match mode.map(String::as_str) {
        Some("none") => Some(false),
        Some("ambient") => Some(true),
        _ => None,
    })
}

/// As Istio's injector reads it: the label before the annotation (pkg/kube/inject: `injectRequired`).
fn sidecar(metadata: &ObjectMeta) -> Option<bool> {
    let maps = [&metadata.labels, &metadata.annotations];
    let mut written = maps
        .into_iter()
        .flatten()
        .filter_map(|map| map.get(SIDECAR));
    match written.next()?.to_ascii_lowercase().as_str() {
        "" => None,
        written => Some(matches!(written, "y" | "yes" | "true" | "on")),
    }
}

fn sandbox(metadata: &ObjectMeta) -> Result<Option<Sandbox>, BadField> {
    let field = |key: &str| FieldPath::of("metadata.annotations").key(key);
    let annotation = |key: &str| {
        let annotations = metadata.annotations.as_ref()?;
        annotations.get(key).filter(|path| !path.is_empty())
    };
    let path = |text: &String, key: &str| {
        if text.starts_with('/') {
            Ok(PathBuf::from(text))
        } else {
            let problem = Problem::RelativePath(text.clone());
            Err(BadField::new(field(key), problem))
        }
    };
    let half = |present, missing| {
        let problem = Problem::HalfSandbox { missing };
        Err(BadField::new(field(present), problem))
    };
    match (annotation(NETNS), annotation(CGROUP)) {
        (None, None) => Ok(None),
        (Some(_), None) => half(NETNS, CGROUP),
        (None, Some(_)) => half(CGROUP, NETNS),
        (Some(netns), Some(cgroup)) => Ok(Some(Sandbox {
            netns: NetnsFile::at(path(netns, NETNS)?),
            cgroup: path(cgroup, CGROUP)?,
        })),
    }
}

fn addresses(status: &PodStatus, bad: &mut Vec<BadField>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let listed = status.pod_ips.as_deref().unwrap_or_default();
    for (index, entry) in listed.iter().enumerate() {
        let field = FieldPath::of("status.podIPs").index(index).key("ip");
        metadata::sort_out(metadata::address(&entry.ip, &field), &mut found, bad);
    }
    if listed.is_empty()
        && let Some(ip) = status.pod_ip.as_deref().filter(|ip| !ip.is_empty())
    {
        let field = FieldPath::of("status.podIP");
        metadata::sort_out(metadata::address(ip, &field), &mut found, bad);
    }
    let mut distinct = Vec::with_capacity(found.len());
    for address in found {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

/// Containers and sidecars (init containers that go on), each with its list and its place there.
fn lasting(spec: &PodSpec) -> impl Iterator<Item = (&'static str, usize, &Container)> {
    let containers = spec.containers.iter().enumerate();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let sidecars = init
        .iter()
        .enumerate()
        .filter(|(_, c)| c.restart_policy.as_deref() == Some("Always"));
    let containers = containers.map(|(index, c)| ("spec.containers", index, c));
    containers.chain(sidecars.map(|(index, c)| ("spec.initContainers", index, c)))
}

/// In which a service's `targetPort` is looked up.
fn container_ports(spec: &PodSpec, bad: &mut Vec<BadField>) -> Vec<ContainerPort> {
    let mut found = Vec::new();
    for (list, index, container) in lasting(spec) {
        let path = FieldPath::of(list).index(index).key("ports");
        ports_of(container, &path, &mut found, bad);
    }
    found
}

fn ports_of(
    container: &Container,
    path: &FieldPath,
    found: &mut Vec<ContainerPort>,
    bad: &mut Vec<BadField>,
) {
    let ports = container.ports.as_deref().unwrap_or_default();
    for (index, entry) in ports.iter().enumerate() {
        if !metadata::is_tcp(entry.protocol.as_deref()) {
            continue;
        }
        let field = path.clone().index(index).key("containerPort");
        let port = metadata::port(entry.container_port, &field);
        let declared = port.map(|port| ContainerPort {
            name: entry.name.clone().unwrap_or_default(),
            port,
        });
        metadata::sort_out(declared, found, bad);
    }
}

fn is_finished(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

fn is_ready(status: &PodStatus) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    !conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "False")
}

/// A static pod has another UID for kubelet than its mirror in the API has: a hash of its manifest
/// (`pkg/kubelet/config/common.go`: `applyDefaults`), which the mirror's annotations tell
/// (`pkg/kubelet/pod/mirror_client.go`). Anybody may write annotations, so only such a pod counts as kubelet makes:
/// owned by the node that it is bound to and nothing else, with two annotations that agree, of which the API server
/// lets nobody change `config.mirror` later. A hash that is written in the manifest itself doesn't count: no UID that
/// the API server gives looks like MD5, so that nobody can take another pod's.
fn static_uid(metadata: &ObjectMeta, node: Option<&str>) -> Option<String> {
    let annotations = metadata.annotations.as_ref()?;
    let hash = annotations.get(CONFIG_MIRROR)?;
    let is_hash = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    let of_node = |owner: &OwnerReference| {
        (&*owner.api_version, &*owner.kind) == ("v1", "Node")
            && owner.controller == Some(true)
            && Some(&*owner.name) == node
    };
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let trusted = annotations.get(CONFIG_HASH) == Some(hash)
        && matches!(owners, [owner] if of_node(owner))
        && hash.len() == MD5_DIGITS
        && hash.bytes().all(is_hash);
    trusted.then(|| hash.clone())
}

/// A static pod is owned by its node, which is not what runs there.
fn controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    (owner.kind != "Node").then_some(owner)
}
