//! Whether clients send what servers take, port by port: `istioctl authn tls-check`, with what was observed.

mod course;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use super::{
    nowhere::{awaits_names, nobody, supposed},
    target::{self, Port, Server, TargetError},
};
use crate::{
    policy::{ClientTls, Mode},
    store::{Lead, Snapshot},
    workload::{Endpoint, Workload},
};
use course::{Course, courses, stays_inside};

/// One port of a service, or of a pod to which no service leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRow {
    /// `HOST:PORT`.
    pub host: String,
    pub status: Agreement,
    /// What the server takes: STRICT, PERMISSIVE or DISABLE; several when its pods differ, none when it has no ready
    /// pod. `-`: it is not in the mesh, and no policy holds there.
    pub server: Vec<String>,
    /// What the client sends: ISTIO_MUTUAL, DISABLE, SIMPLE or MUTUAL; several when it follows pods that differ, `-`
    /// when there is nobody to follow.
    pub client: String,
    /// `KIND/NAMESPACE/NAME`, of what conflicts if anything does; `None` for the built-in default.
    pub authn_policy: Option<String>,
    pub destination_rule: Option<String>,
    /// What sends the client's connections elsewhere.
    #[serde(default)]
    pub virtual_service: Option<String>,
    /// Each mode that the server's pods have, with the document that says so.
    #[serde(default)]
    pub modes: Vec<Taken>,
    /// When no client was named: of which namespaces this is true.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Why there is nobody, or nothing to agree on.
    #[serde(default)]
    pub note: Option<String>,
    /// What was seen of it on live connections.
    #[serde(default)]
    pub observed: Observed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Agreement {
    Ok,
    Conflict,
}

/// What some of a server's pods take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub mode: String,
    /// `KIND/NAMESPACE/NAME`; `None` for the built-in default.
    pub authn_policy: Option<String>,
    /// Whether it is not what the client sends.
    pub conflict: bool,
}

/// Live connections from the client to the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub mutual_tls: u64,
    #[serde(default)]
    pub tls: u64,
    pub plaintext: u64,
}

/// All services as `client` sees them, or only `server`: NAMESPACE/NAME, a host name or an address, with or without
/// :PORT. Without a client as pods of the mesh see them: one row for each way in which they differ.
///
/// # Errors
/// When client or server is nobody.
pub fn tls_check(
    snapshot: &Snapshot,
    client: Option<&str>,
    server: Option<&str>,
) -> Result<Vec<TlsRow>, TargetError> {
    let Some(client) = client else {
        let ports = target::ports(snapshot, None, server)?;
        let clients = kinds_of_clients(snapshot);
        let rows = ports
            .iter()
            .flat_map(|port| of_all(snapshot, &clients, port));
        return Ok(rows.collect());
    };
    let client = target::client(snapshot, client)?;
    let ports = target::ports(snapshot, client.workload.as_deref(), server)?;
    let source = client.source(snapshot);
    let own_proxy = client.has_own_proxy(snapshot).then(|| OWN_PROXY.to_owned());
    let rows = ports.iter().flat_map(|port| {
        let courses = courses(snapshot, source, port);
        let rows = courses.iter().map(|course| {
            if source.is_some_and(|source| stays_inside(snapshot, source, port, course)) {
                return inside(port);
            }
            let row = row(snapshot, source.is_some(), port, course);
            TlsRow {
                note: row.note.clone().or_else(|| own_proxy.clone()),
                ..row
            }
        });
        rows.collect::<Vec<_>>()
    });
    Ok(rows.collect())
}

/// Of a client whose proxy is Istio's.
const OWN_PROXY: &str =
    "the client has Istio's own proxy: this supposes certificates of the same root";

/// A pod of each owner: its others ask for the same.
fn kinds_of_clients(snapshot: &Snapshot) -> Vec<&Workload> {
    let mut clients = BTreeMap::new();
    for workload in snapshot.workloads().filter(|w| w.enrolled) {
        let owner = (workload.namespace(), &*workload.telemetry.workload);
        let first: &mut &Workload = clients.entry(owner).or_insert(workload);
        if workload.name < first.name {
            *first = workload;
        }
    }
    clients.into_values().collect()
}

fn of_all(snapshot: &Snapshot, clients: &[&Workload], port: &Port<'_>) -> Vec<TlsRow> {
    let mut of_kinds: Vec<(Course<'_>, BTreeSet<&str>)> = Vec::new();
    let known = clients.iter().filter(|client| port.is_known_to(client));
    for client in known {
        for course in courses(snapshot, Some(client), port) {
            match of_kinds.iter_mut().find(|known| known.0.is_like(&course)) {
                Some((_, namespaces)) => drop(namespaces.insert(client.namespace())),
                None => of_kinds.push((course, BTreeSet::from([client.namespace()]))),
            }
        }
    }
    if of_kinds.is_empty() {
        // What clients would do if there were any.
        let courses = courses(snapshot, None, port).into_iter();
        of_kinds.extend(courses.map(|course| (course, BTreeSet::new())));
    }
    let rows = of_kinds.iter().map(|(course, namespaces)| TlsRow {
        clients: namespaces.iter().map(ToString::to_string).collect(),
        ..row(snapshot, true, port, course)
    });
    rows.collect()
}

fn inside(port: &Port<'_>) -> TlsRow {
    TlsRow {
        host: port.host(),
        status: Agreement::Ok,
        server: Vec::new(),
        client: "-".to_owned(),
        authn_policy: None,
        destination_rule: None,
        virtual_service: None,
        modes: Vec::new(),
        clients: Vec::new(),
        note: Some("it never leaves the pod: no policy looks at it".to_owned()),
        observed: Observed::default(),
    }
}

fn row(snapshot: &Snapshot, in_mesh: bool, port: &Port<'_>, course: &Course<'_>) -> TlsRow {
    let lead = course.lead.as_ref().ok();
    let captured = in_mesh && course.unseen.is_none();
    let ruled = lead.and_then(|lead| lead.ruled);
    let sent = |mode: Option<Mode>| match (ruled, mode) {
        _ if !captured => ClientTls::Disable,
        (Some(ruled), _) => ruled.tls.clone(),
        // Without a rule it follows the server.
        (None, None | Some(Mode::Disable)) => ClientTls::Disable,
        (None, Some(Mode::Permissive | Mode::Strict)) => ClientTls::IstioMutual,
    };
    let modes = modes(snapshot, port, lead);
    let taken = modes.iter().map(|(mode, policy)| Taken {
        mode: mode.map_or_else(|| OUTSIDE.to_owned(), |mode| mode.to_string()),
        authn_policy: policy.clone(),
        conflict: matches!(
            (mode, sent(*mode)),
            (
                Some(Mode::Strict),
                ClientTls::Disable | ClientTls::Originate(_)
            ) | (None | Some(Mode::Disable), ClientTls::IstioMutual)
        ),
    });
    let taken: Vec<_> = taken.collect();
    let (status, note) = state(snapshot, port, course, &taken);
    let decisive = taken.iter().find(|t| t.conflict).or(taken.first());
    let sent = modes.iter().map(|(mode, _)| sent(*mode).to_string());
    TlsRow {
        host: port.host(),
        status,
        client: match &*distinct(sent) {
            [] => ruled.map_or_else(|| "-".to_owned(), |r| r.tls.to_string()),
            several => several.join(","),
        },
        server: distinct(taken.iter().map(|t| t.mode.clone())),
        authn_policy: decisive.and_then(|t| t.authn_policy.clone()),
        destination_rule: ruled.map(|r| r.document.to_string()),
        virtual_service: match &course.lead {
            Ok(lead) => lead.routed.map(|routed| routed.document.to_string()),
            Err(error) => error.document().map(ToString::to_string),
        },
        modes: taken,
        clients: Vec::new(),
        note,
        observed: Observed::default(),
    }
}

/// Whether client and server agree, and what is to be said of it.
fn state(
    snapshot: &Snapshot,
    port: &Port<'_>,
    course: &Course<'_>,
    taken: &[Taken],
) -> (Agreement, Option<String>) {
    let lead = match &course.lead {
        Ok(lead) => lead,
        Err(error) => return (Agreement::Conflict, Some(error.to_string())),
    };
    let alias = match &port.server {
        Server::Service(service) => snapshot.bystanders.services.get(&service.name),
        Server::Pod(_) => None,
    };
    let alias = alias.and_then(|outward| outward.alias.as_ref());
    let nobody = match lead.service {
        _ if course.unseen.is_some() => course.unseen.clone(),
        _ if alias.is_some() => alias.map(|host| format!("another name of {host} (ExternalName)")),
        None => port.private(),
        Some(service) if awaits_names(snapshot, service) => Some(supposed(service)),
        Some(service) if snapshot.endpoints(lead).next().is_none() => Some(nobody(lead, service)),
        Some(_) => None,
    };
    let outside = || {
        let apart = taken.iter().any(|taken| taken.mode == OUTSIDE);
        let note = if has_own_proxy(snapshot, port, lead) {
            "the server has Istio's own proxy, and no agent: what it takes is for that to say"
        } else {
            "the server is not in the mesh: no policy holds there"
        };
        apart.then(|| note.to_owned())
    };
    let remark = nobody.or_else(outside);
    // What a route leads to must be there.
    let lost = lead.routed.is_some()
        && lead.service.is_some_and(|service| {
            !awaits_names(snapshot, service) && snapshot.endpoints(lead).next().is_none()
        });
    let status = if lost || taken.iter().any(|taken| taken.conflict) {
        Agreement::Conflict
    } else {
        Agreement::Ok
    };
    (status, remark)
}

/// Whether a server that has no agent has Istio's proxy.
fn has_own_proxy(snapshot: &Snapshot, port: &Port<'_>, lead: &Lead<'_>) -> bool {
    if let Server::Pod(pod) = &port.server {
        return target::has_own_proxy(snapshot, pod);
    }
    let mut endpoints = snapshot.endpoints(lead);
    endpoints.any(|endpoint| {
        let pod = snapshot.workload_at(endpoint.address);
        pod.is_some_and(|pod| target::has_own_proxy(snapshot, pod))
    })
}

/// The mode of those for whom no policy holds.
const OUTSIDE: &str = "-";

/// What the pods take where a port leads, with the document that says so: each once.
fn modes(
    snapshot: &Snapshot,
    port: &Port<'_>,
    lead: Option<&Lead<'_>>,
) -> Vec<(Option<Mode>, Option<String>)> {
    let endpoints: Vec<_> = match (&port.server, lead) {
        (Server::Pod(pod), _) => {
            let endpoint = |address: &IpAddr| Endpoint {
                address: *address,
                port: port.port,
            };
            pod.addresses.iter().map(endpoint).collect()
        }
        (Server::Service(_), Some(lead)) => snapshot.endpoints(lead).collect(),
        (Server::Service(_), None) => Vec::new(),
    };
    let mut modes = Vec::new();
    for endpoint in &endpoints {
        let pod = snapshot.workload_at(endpoint.address);
        let effective = pod
            .filter(|w| w.enrolled)
            .map(|w| snapshot.policy.mode(w, endpoint.port));
        let mode = (
            effective.map(|e| e.mode),
            effective.and_then(|e| e.document),
        );
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    let outside = lead.is_some_and(|lead| lead.service.is_none_or(|s| s.outside.is_some()));
    if modes.is_empty() && outside {
        modes.push((None, None));
    }
    let named = modes.into_iter();
    let named = named.map(|(mode, document)| (mode, document.map(ToString::to_string)));
    named.collect()
}

fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut distinct = Vec::new();
    for text in texts {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct
}
