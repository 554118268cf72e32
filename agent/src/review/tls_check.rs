//! Whether clients send what servers take, port by port: `istioctl authn tls-check`, with what was observed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::target::{self, TargetError};
use crate::{
    policy::{ClientTls, DocumentRef, Mode},
    store::Snapshot,
    workload::{Endpoint, Service, ServicePort, Workload},
};

/// One port of a service, or of a pod that was named itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRow {
    /// `HOST:PORT`.
    pub host: String,
    pub status: Agreement,
    /// What the server takes: STRICT, PERMISSIVE or DISABLE; several when its pods differ.
    pub server: Vec<String>,
    /// What the client sends: ISTIO_MUTUAL, DISABLE, SIMPLE or MUTUAL.
    pub client: String,
    /// `KIND/NAMESPACE/NAME`; `None` for the built-in default.
    pub authn_policy: Option<String>,
    pub destination_rule: Option<String>,
    /// What sends the client's connections elsewhere.
    #[serde(default)]
    pub virtual_service: Option<String>,
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

/// Live connections from the client to the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub mutual_tls: u64,
    #[serde(default)]
    pub tls: u64,
    pub plaintext: u64,
}

/// All services as `client` sees them, or only `server`: NAMESPACE/NAME, a host name or HOST:PORT.
///
/// # Errors
/// When client or server is nobody.
pub fn tls_check(
    snapshot: &Snapshot,
    client: &str,
    server: Option<&str>,
) -> Result<Vec<TlsRow>, TargetError> {
    let client = target::client(snapshot, client)?.workload;
    let client = client.as_deref();
    let mut rows = Vec::new();
    for (service, port) in target::ports(snapshot, server)? {
        rows.push(row(snapshot, client, service, port));
    }
    Ok(rows)
}

fn row(
    snapshot: &Snapshot,
    client: Option<&Workload>,
    service: &Arc<Service>,
    port: &ServicePort,
) -> TlsRow {
    let source = client.filter(|w| w.enrolled);
    let lead = source.map(|source| snapshot.lead(source, Some(service), port.port, None));
    let nowhere = matches!(lead, Some(Err(_)));
    let lead = lead.and_then(Result::ok);
    let servers = match &lead {
        Some(lead) => taken(snapshot, snapshot.endpoints(lead)),
        None => taken(snapshot, port.endpoints.iter().copied()),
    };
    let ruled = lead.and_then(|lead| lead.ruled);
    let sent = |mode: Mode| match (source, ruled) {
        (None, _) => ClientTls::Disable,
        (_, Some(ruled)) => ruled.tls.clone(),
        // Without a rule it follows the server.
        (Some(_), None) if mode == Mode::Disable => ClientTls::Disable,
        (Some(_), None) => ClientTls::IstioMutual,
    };
    let conflict = servers.iter().any(|(mode, _)| {
        matches!(
            (mode, sent(*mode)),
            (Mode::Strict, ClientTls::Disable | ClientTls::Originate(_))
                | (Mode::Disable, ClientTls::IstioMutual)
        )
    });
    let nobody = match service.outside {
        Some(_) => Mode::Disable,
        None => Mode::Permissive,
    };
    let first = servers.first().copied().unwrap_or((nobody, None));
    TlsRow {
        host: format!("{}:{}", service.host, port.port),
        status: if conflict || nowhere {
            Agreement::Conflict
        } else {
            Agreement::Ok
        },
        client: sent(first.0).to_string(),
        server: servers.iter().map(|(mode, _)| mode.to_string()).collect(),
        authn_policy: first.1.map(ToString::to_string),
        destination_rule: ruled.map(|r| r.document.to_string()),
        virtual_service: lead.and_then(|lead| Some(lead.routed?.document.to_string())),
        observed: Observed::default(),
    }
}

/// What the pods at some endpoints take, each mode once.
fn taken(
    snapshot: &Snapshot,
    endpoints: impl Iterator<Item = Endpoint>,
) -> Vec<(Mode, Option<&DocumentRef>)> {
    let mut taken: Vec<(Mode, Option<&DocumentRef>)> = Vec::new();
    for endpoint in endpoints {
        let workload = snapshot.workload_at(endpoint.address);
        let mode = workload
            .filter(|w| w.enrolled)
            .map_or((Mode::Disable, None), |w| {
                let effective = snapshot.policy.mode(w, endpoint.port);
                (effective.mode, effective.document)
            });
        if !taken.iter().any(|known| known.0 == mode.0) {
            taken.push(mode);
        }
    }
    taken
}
