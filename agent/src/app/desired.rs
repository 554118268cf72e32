//! Snapshot -> what the kernel should capture. Pure.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use sealane_common::{Destination, OnLoss, PortMode, PortModes};

use crate::{
    capture::{Desired, DesiredPod},
    policy::Mode,
    store::Snapshot,
    workload::{Service, Workload},
};

/// Every enrolled pod of `node` that says where it lives; as destinations, every workload of the mesh and
/// every service with a virtual address.
pub(super) fn desired(snapshot: &Snapshot, node: &str) -> Desired {
    let pods = snapshot
        .workloads()
        .filter(|w| w.enrolled && w.node == node)
        .filter_map(|w| Some((w.name.clone(), desired_pod(snapshot, w)?)))
        .collect();
    let mut destinations = HashMap::new();
    for workload in snapshot.workloads().filter(|w| w.enrolled) {
        let destination = destination(on_loss(snapshot, workload));
        destinations.extend(workload.addresses.iter().map(|a| (*a, destination)));
    }
    for service in snapshot.services() {
        let destination = destination(service_on_loss(snapshot, service));
        let owned = service
            .virtual_addresses
            .iter()
            .filter(|a| owns(snapshot, service, **a));
        destinations.extend(owned.map(|a| (*a, destination)));
    }
    Desired { pods, destinations }
}

fn owns(snapshot: &Snapshot, service: &Service, address: IpAddr) -> bool {
    snapshot
        .service_at(address)
        .is_some_and(|owner| owner.name == service.name)
}

fn desired_pod(snapshot: &Snapshot, workload: &Arc<Workload>) -> Option<DesiredPod> {
    let policy = &snapshot.policy;
    let restricted = policy.restricts(workload);
    let ports = policy.port_modes(workload).into_iter();
    let ports = ports.map(|(port, mode)| PortMode {
        port,
        mode: kernel_mode(mode, restricted),
        pad: 0,
    });
    Some(DesiredPod {
        sandbox: workload.sandbox.clone()?,
        addresses: workload.addresses.clone(),
        mode: kernel_mode(policy.workload_mode(workload).mode, restricted),
        ports: ports.collect(),
        outbound_on_loss: on_loss(snapshot, workload),
        permissive_on_loss: if restricted {
            OnLoss::REFUSE
        } else {
            OnLoss::DIRECT
        },
    })
}

/// A workload any of whose ports is STRICT is one whose traffic must not be in clear. One with authorization policies
/// is not reached while there is nobody to ask them.
fn on_loss(snapshot: &Snapshot, workload: &Workload) -> u32 {
    let policy = &snapshot.policy;
    let strict = policy.workload_mode(workload).mode == Mode::Strict
        || policy
            .port_modes(workload)
            .iter()
            .any(|(_, mode)| *mode == Mode::Strict);
    if strict || policy.restricts(workload) {
        OnLoss::REFUSE
    } else {
        OnLoss::DIRECT
    }
}

/// As the strictest of its endpoints.
fn service_on_loss(snapshot: &Snapshot, service: &Service) -> u32 {
    let mut servers = service
        .ports
        .iter()
        .flat_map(|p| &p.endpoints)
        .filter_map(|e| snapshot.workload_at(e.address))
        .filter(|w| w.enrolled);
    if servers.any(|w| on_loss(snapshot, w) == OnLoss::REFUSE) {
        OnLoss::REFUSE
    } else {
        OnLoss::DIRECT
    }
}

fn destination(on_loss: u32) -> Destination {
    Destination { on_loss, pad: 0 }
}

/// `restricted`: plaintext must come to the agent as well, to be authorized.
fn kernel_mode(mode: Mode, restricted: bool) -> u8 {
    match mode {
        Mode::Disable if !restricted => PortModes::DISABLE,
        Mode::Disable | Mode::Permissive => PortModes::PERMISSIVE,
        Mode::Strict => PortModes::STRICT,
    }
}
