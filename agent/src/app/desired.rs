//! Snapshot -> what the kernel should capture. Pure.

use std::{net::IpAddr, sync::Arc};

use sealane_common::{Address, Destination, OnLoss, PortMode, PortModes};

use crate::{
    capture::{Desired, DesiredPod, Destinations},
    policy::{ClientTls, Mode},
    store::Snapshot,
    workload::{Endpoint, Service, Workload},
};

/// Every enrolled pod of `node` that says where it lives; as destinations, every workload of the mesh and
/// every service with a virtual address.
pub(super) fn desired(snapshot: &Snapshot, node: &str) -> Desired {
    let own = snapshot.workloads().filter(|w| *w.node.name == *node);
    let pods = own
        .clone()
        .filter(|w| w.enrolled)
        .filter_map(|w| Some((w.name.clone(), desired_pod(snapshot, w)?)))
        .collect();
    let others = own.filter(|w| !w.enrolled);
    let others = others.filter_map(|w| Some(w.sandbox()?.netns.clone()));
    Desired {
        pods,
        others: others.collect(),
        destinations: Arc::new(destinations(snapshot)),
        settled: snapshot.settled,
    }
}

/// The address of a pod, to which a host outside leads, stays as strict as the pod is.
fn destinations(snapshot: &Snapshot) -> Destinations {
    let pods = snapshot.workloads().filter(|w| w.enrolled);
    let services = || snapshot.services().filter(|s| concerns(snapshot, s));
    let of_pods: usize = pods.clone().map(|workload| workload.addresses.len()).sum();
    let of_services: usize = services().map(|s| s.virtual_addresses.len()).sum();
    let mut all = Destinations::with_capacity(of_pods + of_services);
    all.extend(pods.flat_map(|workload| {
        let destination = destination(on_loss(snapshot, workload));
        let addresses = workload.addresses.iter();
        addresses.map(move |address| ((*address).into(), destination))
    }));
    let is_refused = |endpoint: Endpoint| all.refuses(endpoint.address.into());
    let refuses_any = all.refuses_any();
    let services = services().flat_map(|service| {
        let mut endpoints = service.endpoints();
        let strict = refuses_any && endpoints.any(is_refused);
        let destination = destination(service_on_loss(snapshot, service, strict));
        let addresses = addresses(snapshot, service).into_iter();
        addresses.map(move |address| (address.into(), destination))
    });
    let services: Vec<(Address, Destination)> = services.collect();
    all.extend(services);
    all
}

/// Whether there is anything to do for connections to a service: to those outside only what a document says.
fn concerns(snapshot: &Snapshot, service: &Service) -> bool {
    service.outside.is_none() || is_documented(snapshot, service)
}

fn is_documented(snapshot: &Snapshot, service: &Service) -> bool {
    let policy = &snapshot.policy;
    policy.routes().leading(&service.host).next().is_some()
        || policy.clients().about(&service.host).next().is_some()
}

/// Where clients connect to that mean it.
fn addresses(snapshot: &Snapshot, service: &Service) -> Vec<IpAddr> {
    if service.is_headless() {
        let endpoints = service.endpoints();
        let needed = is_documented(snapshot, service);
        return endpoints.filter(|_| needed).map(|e| e.address).collect();
    }
    let owned = service.virtual_addresses.iter().copied();
    owned.filter(|a| owns(snapshot, service, *a)).collect()
}

/// Several hosts outside may have one address.
fn owns(snapshot: &Snapshot, service: &Service, address: IpAddr) -> bool {
    let owner = snapshot.service_at(address);
    owner.map_or(service.outside.is_some(), |owner| {
        owner.name == service.name
    })
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
        sandbox: workload.sandbox().cloned()?,
        addresses: workload.addresses.to_vec(),
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

/// As the strictest of its endpoints: `strict` if one of them must not be reached in clear; what must be TLS of other
/// kinds isn't sent in clear either.
fn service_on_loss(snapshot: &Snapshot, service: &Service, strict: bool) -> u32 {
    if strict || originates(snapshot, &service.host) {
        OnLoss::REFUSE
    } else {
        OnLoss::DIRECT
    }
}

/// Whether some client is told to speak TLS with a host, or where connections to it are sent.
fn originates(snapshot: &Snapshot, host: &str) -> bool {
    let policy = &snapshot.policy;
    let leading = policy.routes().leading(host);
    leading.chain([host]).any(|host| {
        let mut about = policy.clients().about(host);
        about.any(|tls| !matches!(tls, ClientTls::Disable))
    })
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
