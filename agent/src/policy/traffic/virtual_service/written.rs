//! `VirtualService.spec` as written.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::Unread;
use crate::policy::selector::Labels;

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct VirtualServiceSpec {
    pub(super) hosts: Option<Vec<String>>,
    pub(super) gateways: Option<Vec<String>>,
    pub(super) http: Option<Vec<WrittenRoute>>,
    pub(super) tls: Option<Vec<WrittenRoute>>,
    pub(super) tcp: Option<Vec<WrittenRoute>>,
    pub(super) export_to: Option<Vec<String>>,
}

impl VirtualServiceSpec {
    /// Whether it counts only where another document names it as delegate (Istio: those have no hosts).
    pub(super) fn is_delegate(&self) -> bool {
        let is_none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
        let http = self.http.as_ref().is_some_and(|routes| !routes.is_empty());
        http && is_none(&self.hosts) && is_none(&self.gateways)
    }
}

/// Of any of the three lists. What is unread is about requests of HTTP, and changes nothing of where they go.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenRoute {
    #[serde(rename = "name")]
    _name: Option<String>,
    pub(super) r#match: Option<Vec<WrittenMatch>>,
    pub(super) route: Option<Vec<WrittenWeighted>>,
    redirect: Unread,
    direct_response: Unread,
    delegate: Unread,
    #[serde(rename = "rewrite")]
    _rewrite: Unread,
    #[serde(rename = "timeout")]
    _timeout: Unread,
    #[serde(rename = "retries")]
    _retries: Unread,
    #[serde(rename = "fault")]
    _fault: Unread,
    #[serde(rename = "mirror")]
    _mirror: Unread,
    #[serde(rename = "mirrors")]
    _mirrors: Unread,
    #[serde(rename = "mirrorPercent")]
    _mirror_percent: Unread,
    #[serde(rename = "mirrorPercentage")]
    _mirror_percentage: Unread,
    #[serde(rename = "corsPolicy")]
    _cors_policy: Unread,
    #[serde(rename = "headers")]
    _headers: Unread,
}

impl WrittenRoute {
    /// Requests are answered, or another document says where they go.
    pub(super) fn is_replaced(&self) -> bool {
        self.redirect.is_some() || self.direct_response.is_some() || self.delegates()
    }

    pub(super) fn delegates(&self) -> bool {
        self.delegate.is_some()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenMatch {
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "statPrefix")]
    _stat_prefix: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) gateways: Option<Vec<String>>,
    pub(super) source_labels: Option<Labels>,
    pub(super) source_namespace: Option<String>,
    pub(super) sni_hosts: Option<Vec<String>>,
    pub(super) destination_subnets: Option<Vec<String>>,
    uri: Unread,
    scheme: Unread,
    method: Unread,
    authority: Unread,
    headers: Unread,
    query_params: Unread,
    #[serde(rename = "ignoreUriCase")]
    _ignore_uri_case: Unread,
    without_headers: Unread,
}

impl WrittenMatch {
    /// Whether only some requests of a connection may be meant.
    pub(super) fn is_of_requests(&self) -> bool {
        let asked = [
            &self.uri,
            &self.scheme,
            &self.method,
            &self.authority,
            &self.headers,
            &self.query_params,
            &self.without_headers,
        ];
        asked.into_iter().any(Option::is_some)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenWeighted {
    pub(super) destination: Option<WrittenDestination>,
    pub(super) weight: Option<i64>,
    #[serde(rename = "headers")]
    _headers: Unread,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenDestination {
    pub(super) host: Option<String>,
    pub(super) subset: Option<String>,
    pub(super) port: Option<WrittenPort>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenPort {
    pub(super) number: i64,
}

/// A range, or a single address.
pub(super) fn subnet(written: &str) -> Option<IpNet> {
    let single = || written.parse::<IpAddr>().map(IpNet::from);
    written.parse().or_else(|_| single()).ok()
}
