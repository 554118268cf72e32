//! Whether clients send what servers take, port by port: `istioctl authn tls-check`, with what was observed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::target::{self, TargetError};
use crate::{
    policy::{ClientMode, DocumentRef, Mode, Ruled},
    store::Snapshot,
    workload::{Service, ServicePort, Workload},
};

/// One port of a service, or of a pod that was named itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRow {
    /// `HOST:PORT`.
    pub host: String,
    pub status: Agreement,
    /// What the server takes: STRICT, PERMISSIVE or DISABLE; several when its pods differ.
    pub server: Vec<String>,
    /// What the client sends: ISTIO_MUTUAL or DISABLE.
    pub client: String,
    /// `KIND/NAMESPACE/NAME`; `None` for the built-in default.
    pub authn_policy: Option<String>,
    pub destination_rule: Option<String>,
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
    let policy = &snapshot.policy;
    let ruled = source.and_then(|source| policy.client_rule(source, service, port.port));
    let mut server: Vec<(Mode, Option<&DocumentRef>)> = Vec::new();
    for endpoint in &port.endpoints {
        let workload = snapshot.workload_at(endpoint.address);
        let taken = workload
            .filter(|w| w.enrolled)
            .map_or((Mode::Disable, None), |w| {
                let effective = policy.mode(w, endpoint.port);
                (effective.mode, effective.document)
            });
        if !server.iter().any(|known| known.0 == taken.0) {
            server.push(taken);
        }
    }
    let sent = |mode: Mode| match (source, ruled) {
        (None, _)
        | (
            _,
            Some(Ruled {
                mode: ClientMode::Disable,
                ..
            }),
        ) => ClientMode::Disable,
        (
            _,
            Some(Ruled {
                mode: ClientMode::IstioMutual,
                ..
            }),
        ) => ClientMode::IstioMutual,
        // Without a rule it follows the server.
        (Some(_), None) if mode == Mode::Disable => ClientMode::Disable,
        (Some(_), None) => ClientMode::IstioMutual,
    };
    let conflict = server.iter().any(|(mode, _)| {
        matches!(
            (mode, sent(*mode)),
            (Mode::Strict, ClientMode::Disable) | (Mode::Disable, ClientMode::IstioMutual)
        )
    });
    let first = server.first().copied().unwrap_or((Mode::Permissive, None));
    TlsRow {
        host: format!("{}:{}", service.host, port.port),
        status: if conflict {
            Agreement::Conflict
        } else {
            Agreement::Ok
        },
        client: sent(first.0).to_string(),
        server: server.iter().map(|(mode, _)| mode.to_string()).collect(),
        authn_policy: first.1.map(ToString::to_string),
        destination_rule: ruled.map(|r| r.document.to_string()),
        observed: Observed::default(),
    }
}
