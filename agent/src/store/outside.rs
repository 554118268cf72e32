//! Hosts that are no Kubernetes services. Several entries may claim one host or one address: who is meant depends on
//! the client's namespace.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::workload::Service;

/// By host and by address; older entries come first.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    by_host: HashMap<String, Vec<Arc<Service>>>,
    by_address: HashMap<IpAddr, Vec<Arc<Service>>>,
}

impl Outside {
    /// After those that are older.
    pub(super) fn add(&mut self, service: &Arc<Service>, addresses: impl Iterator<Item = IpAddr>) {
        let of_host = self.by_host.entry(service.host.clone()).or_default();
        of_host.push(Arc::clone(service));
        for address in addresses {
            let at = self.by_address.entry(address).or_default();
            at.push(Arc::clone(service));
        }
    }

    /// Whose a host is for clients of a namespace: its own entry stands before those of others (Istio:
    /// `SidecarScope`).
    pub(super) fn named(&self, namespace: &str, host: &str) -> Option<&Arc<Service>> {
        let claims = self.by_host.get(host)?.iter();
        let known = claims.filter(|service| service.is_known_in(namespace));
        known.min_by_key(|service| &*service.name.namespace != namespace)
    }

    /// All that clients of a namespace may mean by an address: one for each host.
    pub(super) fn at<'s, 'n>(
        &'s self,
        namespace: &'n str,
        address: IpAddr,
    ) -> impl Iterator<Item = &'s Arc<Service>> + use<'s, 'n> {
        let claims = self.by_address.get(&address).into_iter().flatten();
        claims.filter(move |service| {
            let named = self.named(namespace, &service.host);
            named.is_some_and(|named| Arc::ptr_eq(named, service))
        })
    }

    /// Whether somebody may mean something by an address.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.by_address.contains_key(&address)
    }
}
