//! Where clients' connections to a port lead, and whether they leave the client at all.

use std::{net::IpAddr, sync::Arc};

use crate::{
    policy::{Routed, Ruled},
    review::{
        connected::{Families, connected},
        nowhere::unrecognised,
        target::{Port, Server},
    },
    store::{Lead, LeadError, Snapshot},
    workload::{Service, Workload},
};

/// Where a client's connections to a port lead.
pub(super) struct Course<'a> {
    pub(super) lead: Result<Lead<'a>, LeadError>,
    /// Why the client's agent sees none of them, if so.
    pub(super) unseen: Option<String>,
}

impl Course<'_> {
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (&self.lead, &other.lead) {
            (Ok(one), Ok(other)) => parts(one) == parts(other),
            (Err(one), Err(other)) => one == other,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }
}

/// All that a lead follows from.
fn parts<'a>(
    lead: &Lead<'a>,
) -> (
    Option<&'a Arc<Service>>,
    u16,
    Option<Routed<'a>>,
    Option<Ruled<'a>>,
) {
    (lead.service, lead.port, lead.routed, lead.ruled)
}

/// One for each way in which it makes a difference where the client connects to. None: only documents speak of the port,
/// and not to this client.
pub(super) fn courses<'a>(
    snapshot: &'a Snapshot,
    source: Option<&Workload>,
    port: &Port<'a>,
) -> Vec<Course<'a>> {
    let service = match &port.server {
        Server::Service(service) => Some(*service),
        Server::Pod(_) => None,
    };
    let unseen = service.and_then(|service| unrecognised(snapshot, service));
    let source = source.filter(|_| unseen.is_none());
    let ways = match (source, service) {
        (Some(source), Some(service)) => {
            let families = Families::of(&source.addresses);
            connected(snapshot, families, service, port.port)
        }
        _ => vec![None],
    };
    let mut courses: Vec<Course<'_>> = Vec::new();
    for address in ways {
        let lead = match source {
            None => Ok(Lead::direct(service, port.port)),
            Some(source) => snapshot.lead(source, service, port.port, address),
        };
        let course = Course {
            lead,
            unseen: unseen.clone(),
        };
        let declared = service.is_none_or(|service| service.port(port.port).is_some());
        let lead = course.lead.as_ref();
        let routed = lead.map_or(true, |lead| lead.routed.is_some());
        if (declared || routed) && !courses.iter().any(|known| known.is_like(&course)) {
            courses.push(course);
        }
    }
    courses
}

/// Whether all that a client would be sent to is itself.
pub(super) fn stays_inside(
    snapshot: &Snapshot,
    source: &Workload,
    port: &Port<'_>,
    course: &Course<'_>,
) -> bool {
    let own = |address: &IpAddr| source.addresses.contains(address);
    match (&port.server, &course.lead) {
        (Server::Pod(pod), _) => pod.name == source.name,
        (Server::Service(_), Ok(lead)) => {
            let mut endpoints = snapshot.endpoints(lead).peekable();
            endpoints.peek().is_some() && endpoints.all(|endpoint| own(&endpoint.address))
        }
        (Server::Service(_), Err(_)) => false,
    }
}
