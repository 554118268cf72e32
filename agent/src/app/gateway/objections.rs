//! What a gateway's objects ask for that will hardly be meant.

use crate::{
    config::GatewayConfig,
    policy::{Mode, Work},
    proxy::Terminations,
    store::Snapshot,
    workload::Workload,
};

/// Documents that keep this gateway from doing what others ask of it.
pub(super) fn objections(
    config: &GatewayConfig,
    snapshot: &Snapshot,
    own: &Workload,
    terminations: &Terminations,
) -> Vec<String> {
    let gateways = snapshot.policy.routes().gateways();
    let shadowed = gateways.shadowed(&own.labels).map(|served| {
        let (gateway, port) = (served.gateway, served.server.port);
        format!("{gateway}: port {port} is an older Gateway's, for another protocol")
    });
    let mut texts: Vec<_> = shadowed.collect();
    texts.extend(misnamed(snapshot, own, terminations));
    for port in gateways
        .ports(&own.labels)
        .into_keys()
        .filter(|_| own.enrolled)
    {
        let bound = config.ports.get(&port).copied().unwrap_or(port);
        let mode = snapshot.policy.mode(own, bound);
        if mode.mode == Mode::Strict {
            let document = mode.document.map_or_else(String::new, ToString::to_string);
            texts.push(format!(
                "{document} takes only mutual TLS of the mesh on port {bound} of this pod: write PERMISSIVE or DISABLE for it, or \
                 nobody from outside is let in"
            ));
        }
    }
    texts
}

/// Certificates without the names of the hosts that they are shown for.
fn misnamed(snapshot: &Snapshot, own: &Workload, terminations: &Terminations) -> Vec<String> {
    let mut texts = Vec::new();
    for served in snapshot.policy.routes().gateways().of(&own.labels) {
        let Work::Terminate(tls) = &served.server.work else {
            continue;
        };
        let Some(termination) = terminations.get(tls) else {
            continue;
        };
        for written in served.server.hosts() {
            let host = written.split_once('/').map_or(&*written, |(_, host)| host);
            if host != "*" && !termination.is_for(host) {
                texts.push(format!(
                    "{}: the certificate of {} has no such name as {host} (subjectAltName): clients that ask for it \
                     will not take it",
                    served.gateway, tls.credential
                ));
            }
        }
    }
    texts
}
