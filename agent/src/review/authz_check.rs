//! What a workload takes on each of its ports, from whom: `istioctl experimental authz check`.

use serde::{Deserialize, Serialize};

use super::target::{self, TargetError};
use crate::{
    policy::{Action, Effective},
    store::Snapshot,
    workload::Workload,
};

/// One port of a workload; port 0 is every one that isn't named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorized {
    /// `NAMESPACE/NAME`.
    pub workload: String,
    pub port: Option<u16>,
    /// STRICT, PERMISSIVE or DISABLE.
    pub mode: String,
    pub authn_policy: Option<String>,
    /// The identity that its certificate is for; `None` outside the mesh.
    pub certificate: Option<String>,
    pub rules: Vec<Applying>,
}

/// An authorization policy that is for the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applying {
    /// `KIND/NAMESPACE/NAME`.
    pub policy: String,
    /// ALLOW or DENY.
    pub action: String,
    /// How many of its rules may match at the port.
    pub rules: usize,
    pub dry_run: bool,
}

/// Every port of a pod, or of the pods of a service, that is known: those that containers and services name, and
/// those with a mode of their own. Then all others together.
///
/// # Errors
/// When nobody is called so.
pub fn authz_check(snapshot: &Snapshot, workload: &str) -> Result<Vec<Authorized>, TargetError> {
    let mut rows = Vec::new();
    for workload in target::workloads(snapshot, workload)? {
        let policy = &snapshot.policy;
        for port in ports(snapshot, &workload) {
            rows.push(row(
                snapshot,
                &workload,
                Some(port),
                policy.mode(&workload, port),
            ));
        }
        rows.push(row(
            snapshot,
            &workload,
            None,
            policy.workload_mode(&workload),
        ));
    }
    Ok(rows)
}

/// Those that are known of a workload.
pub(super) fn ports(snapshot: &Snapshot, workload: &Workload) -> Vec<u16> {
    let modes = snapshot
        .policy
        .port_modes(workload)
        .into_iter()
        .map(|(port, _)| port);
    let named = workload.container_ports.iter().map(|named| named.port);
    let services = snapshot.services().flat_map(|s| s.endpoints());
    let served = services
        .filter(|e| workload.addresses.contains(&e.address))
        .map(|e| e.port);
    let mut ports: Vec<_> = modes.chain(named).chain(served).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn row(
    snapshot: &Snapshot,
    workload: &Workload,
    port: Option<u16>,
    effective: Effective<'_>,
) -> Authorized {
    let applying = snapshot.policy.authorization().of(workload);
    // One that denies elsewhere says nothing here; one that allows elsewhere allows nobody here.
    let applying = applying.filter(|p| p.action() == Action::Allow || p.rules_for(port) > 0);
    let applying = applying.map(|policy| Applying {
        policy: policy.document().to_string(),
        action: policy.action().to_string(),
        rules: policy.rules_for(port),
        dry_run: policy.is_dry_run(),
    });
    Authorized {
        workload: workload.name.to_string(),
        port,
        mode: if workload.enrolled {
            effective.mode.to_string()
        } else {
            "-".to_owned()
        },
        authn_policy: effective.document.map(ToString::to_string),
        certificate: workload.enrolled.then(|| workload.identity.to_string()),
        rules: applying.collect(),
    }
}
