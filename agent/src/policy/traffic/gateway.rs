//! `Gateway` (<https://istio.io/latest/docs/reference/config/networking/gateway/>): what comes in from outside of the
//! mesh, and what becomes of it there.

mod tls;
mod written;

use std::sync::Arc;

pub use tls::{Clients, Credential, ServerTls, TlsVersion};
pub use written::GatewaySpec;
use written::Seen;

use super::virtual_service::{Protocols, VirtualService};
use crate::policy::{
    DocumentRef, FieldPath, Invalid, Labels, Reason, host::Host, selector::selects,
};

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    pub(in crate::policy) document: DocumentRef,
    /// `NAMESPACE/NAME`, as `VirtualService`s call it.
    name: String,
    pub(in crate::policy) created: Option<i64>,
    /// Of the pods that serve it.
    selector: Labels,
    pub(super) servers: Vec<Server>,
}

/// What a gateway takes on one of its ports, for some hosts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// As clients know it.
    pub port: u16,
    hosts: Vec<ServerHost>,
    pub work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServerHost {
    /// Of the `VirtualService`s that may have it; `None`: any.
    namespace: Option<String>,
    host: Host,
}

/// What is done with a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Requests are sent to the same place in HTTPS.
    Redirect,
    /// HTTP in clear goes on as it is.
    Http,
    /// Bytes in clear go on as they are.
    Tcp,
    /// TLS goes on as it is, by the name that it asks for.
    Passthrough,
    /// TLS ends here.
    Terminate(Arc<ServerTls>),
}

/// What clients of a port speak, which all of its servers have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Http,
    Tcp,
    Tls,
}

impl Work {
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Redirect | Self::Http => Family::Http,
            Self::Tcp => Family::Tcp,
            Self::Passthrough | Self::Terminate(_) => Family::Tls,
        }
    }

    /// The list of a `VirtualService` that counts (Istio: `buildGatewayNetworkFilters`).
    pub(super) fn routes(&self) -> Protocols {
        match self {
            Self::Redirect | Self::Http => Protocols::Http,
            Self::Tcp => Protocols::Tcp,
            Self::Passthrough => Protocols::Tls,
            Self::Terminate(tls) if tls.http => Protocols::Http,
            Self::Terminate(_) => Protocols::Tcp,
        }
    }
}

impl Gateway {
    /// # Errors
    /// Every field that makes no sense, or asks for what Sealane doesn't do.
    pub fn new(
        document: DocumentRef,
        created: Option<i64>,
        spec: GatewaySpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let written = spec.servers.unwrap_or_default();
        let at = FieldPath::of("spec.servers");
        if written.is_empty() {
            errors.push(Invalid::new(at.clone(), Reason::Mandatory));
        }
        let mut seen = Seen::default();
        let mut servers = Vec::new();
        for (index, server) in written.into_iter().enumerate() {
            servers.extend(server.checked(&at.clone().index(index), &mut seen, &mut errors));
        }
        if errors.is_empty() {
            Ok(Self {
                name: format!("{}/{}", document.namespace, document.name),
                document,
                created,
                selector: spec.selector.unwrap_or_default(),
                servers,
            })
        } else {
            Err(errors)
        }
    }

    #[must_use]
    pub fn document(&self) -> &DocumentRef {
        &self.document
    }

    /// `NAMESPACE/NAME`, as `VirtualService`s call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// With all hosts in full.
    #[must_use]
    pub(super) fn whole(mut self, cluster_domain: &str) -> Self {
        let own = &self.document.namespace;
        for host in self.servers.iter_mut().flat_map(|s| &mut s.hosts) {
            host.host = host.host.clone().whole(own, cluster_domain);
            if host.namespace.as_deref() == Some(".") {
                host.namespace = Some(own.clone());
            }
        }
        self
    }

    /// Whether one pod may serve both.
    pub(super) fn may_share_pods(&self, other: &Self) -> bool {
        let theirs = |key| other.selector.get(key);
        let mut own = self.selector.iter();
        own.all(|(key, value)| theirs(key).is_none_or(|theirs| theirs == value))
    }

    /// Whether pods with these labels serve it.
    pub(super) fn is_of(&self, labels: &Labels) -> bool {
        selects(&self.selector, labels)
    }
}

impl Server {
    /// As documents write them.
    pub fn hosts(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().map(|host| match &host.namespace {
            Some(namespace) => format!("{namespace}/{}", host.host),
            None => host.host.to_string(),
        })
    }

    /// How much it is for this name alone; `None` if it isn't for it. Without a name, what is for every name counts.
    pub(super) fn specificity(&self, name: Option<&str>) -> Option<(bool, usize)> {
        let matching = self
            .hosts
            .iter()
            .filter(|h| h.host.matches(name.unwrap_or_default()));
        matching.map(|h| h.host.specificity()).max()
    }

    /// [`specificity`](Self::specificity) of what it has in common with some routes.
    pub(super) fn specificity_with(
        &self,
        name: &str,
        routes: &VirtualService,
    ) -> Option<(bool, usize)> {
        let hosts = self.hosts.iter().filter(|h| h.is_for(routes));
        let matching = hosts.filter(|h| h.host.matches(name));
        let own = matching.map(|h| h.host.specificity()).max()?;
        Some(own.max(routes.specificity(name)?))
    }

    /// Whether every name is its own, and some routes may have them all.
    pub(super) fn is_for_all(&self, routes: &VirtualService) -> bool {
        let mut hosts = self.hosts.iter().filter(|h| h.is_for(routes));
        hosts.any(|h| h.host.is_all())
    }

    /// Whether some of its hosts are also the other's, which may have them.
    pub(super) fn takes(&self, routes: &VirtualService) -> bool {
        let mut hosts = self.hosts.iter().filter(|h| h.is_for(routes));
        hosts.any(|h| routes.hosts().any(|other| other.overlaps(&h.host)))
    }
}

impl ServerHost {
    fn is_for(&self, routes: &VirtualService) -> bool {
        let of = self.namespace.as_ref();
        of.is_none_or(|of| *of == routes.document.namespace)
    }
}
