//! `VirtualService.spec` as written.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::Refused;
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

/// Of any of the three lists.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenRoute {
    #[serde(rename = "name")]
    _name: Option<String>,
    pub(super) r#match: Option<Vec<WrittenMatch>>,
    pub(super) route: Option<Vec<WrittenWeighted>>,
    redirect: Refused,
    direct_response: Refused,
    delegate: Refused,
    rewrite: Refused,
    timeout: Refused,
    retries: Refused,
    fault: Refused,
    mirror: Refused,
    mirrors: Refused,
    mirror_percent: Refused,
    mirror_percentage: Refused,
    cors_policy: Refused,
    headers: Refused,
}

impl WrittenRoute {
    pub(super) fn needs_http(&self) -> [(&'static str, bool); 13] {
        [
            ("redirect", self.redirect.is_some()),
            ("directResponse", self.direct_response.is_some()),
            ("delegate", self.delegate.is_some()),
            ("rewrite", self.rewrite.is_some()),
            ("timeout", self.timeout.is_some()),
            ("retries", self.retries.is_some()),
            ("fault", self.fault.is_some()),
            ("mirror", self.mirror.is_some()),
            ("mirrors", self.mirrors.is_some()),
            ("mirrorPercent", self.mirror_percent.is_some()),
            ("mirrorPercentage", self.mirror_percentage.is_some()),
            ("corsPolicy", self.cors_policy.is_some()),
            ("headers", self.headers.is_some()),
        ]
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
    uri: Refused,
    scheme: Refused,
    method: Refused,
    authority: Refused,
    headers: Refused,
    query_params: Refused,
    ignore_uri_case: Refused,
    without_headers: Refused,
}

impl WrittenMatch {
    pub(super) fn needs_http(&self) -> [(&'static str, bool); 8] {
        [
            ("uri", self.uri.is_some()),
            ("scheme", self.scheme.is_some()),
            ("method", self.method.is_some()),
            ("authority", self.authority.is_some()),
            ("headers", self.headers.is_some()),
            ("queryParams", self.query_params.is_some()),
            ("ignoreUriCase", self.ignore_uri_case.is_some()),
            ("withoutHeaders", self.without_headers.is_some()),
        ]
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenWeighted {
    pub(super) destination: Option<WrittenDestination>,
    /// Of one destination alone it says nothing.
    #[serde(rename = "weight")]
    _weight: Option<i64>,
    pub(super) headers: Refused,
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
