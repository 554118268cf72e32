//! The kinds that are watched, and what is read of them.

use kube::{
    Client,
    core::{ApiResource, GroupVersionKind},
    runtime::watcher,
};

use crate::control::objects::api;

/// One kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Feed {
    Namespaces,
    Pods,
    Services,
    EndpointSlices,
    /// With policy.
    ConfigMaps,
    /// Of Istio, which a cluster may not have.
    Istio(Istio),
}

/// Kinds of Istio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Istio {
    PeerAuthentication,
    AuthorizationPolicy,
    DestinationRule,
    ServiceEntry,
    VirtualService,
    Gateway,
}

impl Istio {
    pub(super) const ALL: [Self; 6] = [
        Self::PeerAuthentication,
        Self::AuthorizationPolicy,
        Self::DestinationRule,
        Self::ServiceEntry,
        Self::VirtualService,
        Self::Gateway,
    ];

    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::PeerAuthentication => ("security", "PeerAuthentication", "peerauthentications"),
            Self::AuthorizationPolicy => {
                ("security", "AuthorizationPolicy", "authorizationpolicies")
            }
            Self::DestinationRule => ("networking", "DestinationRule", "destinationrules"),
            Self::ServiceEntry => ("networking", "ServiceEntry", "serviceentries"),
            Self::VirtualService => ("networking", "VirtualService", "virtualservices"),
            Self::Gateway => ("networking", "Gateway", "gateways"),
        }
    }

    /// As Istio before 1.22 and since then has served it, the newest first.
    pub(super) fn resources(self) -> [ApiResource; 2] {
        let (group, kind, plural) = self.names();
        ["v1", "v1beta1"].map(|version| {
            let kind = GroupVersionKind::gvk(&format!("{group}.istio.io"), version, kind);
            ApiResource::from_gvk_with_plural(&kind, plural)
        })
    }
}

/// How much of a cluster is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Which pods there are, where, and whose.
    Pods,
    /// All that says something about connections.
    Mesh,
}

impl Scope {
    pub(super) fn feeds(self) -> Vec<Feed> {
        let mut feeds = vec![Feed::Namespaces, Feed::Pods];
        if self == Self::Mesh {
            feeds.extend([Feed::Services, Feed::EndpointSlices, Feed::ConfigMaps]);
            feeds.extend(Istio::ALL.map(Feed::Istio));
        }
        feeds
    }
}

impl Feed {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Pods => "Pod",
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::ConfigMaps => "ConfigMap",
            Self::Istio(istio) => istio.names().1,
        }
    }

    /// Whether every cluster has it.
    pub(super) fn is_built_in(self) -> bool {
        !matches!(self, Self::Istio(_))
    }

    /// Of built-in kinds.
    pub(super) fn resource(self) -> ApiResource {
        let (group, plural) = match self {
            Self::Namespaces => ("", "namespaces"),
            Self::Pods => ("", "pods"),
            Self::Services => ("", "services"),
            Self::EndpointSlices => ("discovery.k8s.io", "endpointslices"),
            Self::ConfigMaps => ("", "configmaps"),
            Self::Istio(istio) => return istio.resources()[0].clone(),
        };
        let kind = GroupVersionKind::gvk(group, "v1", self.kind());
        ApiResource::from_gvk_with_plural(&kind, plural)
    }

    /// What is asked for of it. Pods that have ended have no address that counts.
    pub(super) fn selection(self) -> watcher::Config {
        let page = match self {
            Self::Pods => PAGE_OF_PODS,
            Self::EndpointSlices => PAGE_OF_SLICES,
            Self::ConfigMaps => PAGE_OF_CONFIG_MAPS,
            _ => PAGE,
        };
        let all = watcher::Config::default()
            .page_size(page)
            .timeout(super::follow::WATCH);
        match self {
            Self::Pods => all.fields("status.phase!=Succeeded,status.phase!=Failed"),
            Self::ConfigMaps => all.labels("sealane.dev/policy=true"),
            _ => all,
        }
    }
}

/// Objects of an answer to a list; an answer is in memory as a whole. As many as `kubectl` and controllers ask for.
const PAGE: u32 = 500;

/// Of some 10 KiB each: 500 take 9 MiB more than 50, on top of all that is known, when lists are read again.
const PAGE_OF_PODS: u32 = 200;

/// With up to 1,000 endpoints each, mostly 100.
const PAGE_OF_SLICES: u32 = 100;

/// Of up to a mebibyte each.
const PAGE_OF_CONFIG_MAPS: u32 = 10;

/// Which of the versions of a resource a server has; `None`: none of them.
///
/// # Errors
/// When it can't be asked.
pub(super) async fn served(
    client: &Client,
    versions: &[ApiResource],
) -> Result<Option<ApiResource>, kube::Error> {
    for resource in versions {
        let asked = client.list_api_group_resources(&resource.api_version).await;
        match asked {
            Ok(list) if list.resources.iter().any(|r| r.name == resource.plural) => {
                return Ok(Some(resource.clone()));
            }
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What was heard of a kind.
#[derive(Debug)]
pub(super) enum Event {
    /// A list begins.
    Begin,
    Put(Object),
    Remove(crate::workload::ObjectName),
    /// The list has ended.
    End,
    /// The server doesn't have the kind.
    Absent,
    /// It can't be asked, or can't answer: it is asked again.
    Failed(String),
    /// It answers again, and has nothing new.
    Resumed,
}

/// An object, as far as it is read.
#[derive(Debug)]
pub(super) enum Object {
    Namespace(Box<api::Namespace>),
    Pod(Box<api::Pod>),
    Service(Box<api::Service>),
    EndpointSlice(Box<api::EndpointSlice>),
    /// A document, or a ConfigMap with documents.
    Policy(serde_json::Value),
}
