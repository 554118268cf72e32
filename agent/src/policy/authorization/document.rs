//! `AuthorizationPolicy.spec` as written. Unknown fields are refused: a misspelt one would widen what is allowed.

use serde::{Deserialize, de::IgnoredAny};

use crate::policy::selector::{WorkloadSelector, null_as_default, null_as_empty};

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationPolicySpec {
    pub(super) selector: Option<WorkloadSelector>,
    pub(super) target_ref: Option<IgnoredAny>,
    pub(super) target_refs: Option<Vec<IgnoredAny>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) action: WrittenAction,
    pub(super) provider: Option<IgnoredAny>,
    /// Absent: nothing matches. An empty rule: everything does.
    pub(super) rules: Option<Vec<Option<Rule>>>,
}

/// `action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum WrittenAction {
    #[default]
    Allow,
    Deny,
    Audit,
    Custom,
}

/// `rules[]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default, deserialize_with = "null_as_empty")]
    pub(super) from: Option<Vec<From>>,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub(super) to: Option<Vec<To>>,
    pub(super) when: Option<Vec<Condition>>,
}

/// `from[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    pub(super) source: Option<Source>,
}

/// `to[]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct To {
    pub(super) operation: Option<Operation>,
}

/// A list; `null` is the same as an empty one, and that as none.
type Values = Option<Vec<String>>;

/// `source`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Source {
    pub(super) principals: Values,
    pub(super) not_principals: Values,
    pub(super) request_principals: Values,
    pub(super) not_request_principals: Values,
    pub(super) namespaces: Values,
    pub(super) not_namespaces: Values,
    pub(super) service_accounts: Values,
    pub(super) not_service_accounts: Values,
    pub(super) ip_blocks: Values,
    pub(super) not_ip_blocks: Values,
    pub(super) remote_ip_blocks: Values,
    pub(super) not_remote_ip_blocks: Values,
}

/// `operation`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Operation {
    pub(super) hosts: Values,
    pub(super) not_hosts: Values,
    pub(super) ports: Values,
    pub(super) not_ports: Values,
    pub(super) methods: Values,
    pub(super) not_methods: Values,
    pub(super) paths: Values,
    pub(super) not_paths: Values,
}

/// `when[]`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Condition {
    pub(super) key: Option<String>,
    pub(super) values: Values,
    pub(super) not_values: Values,
}
