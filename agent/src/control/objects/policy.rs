//! Istio's policy documents: the object around the specification.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::{BadField, FromObject, metadata};
use crate::{
    control::{error::Problem, yaml::FieldPath},
    policy::{
        AuthorizationPolicy, AuthorizationPolicySpec, DestinationRule, DestinationRuleSpec,
        DocumentKind, DocumentRef, Gateway, GatewaySpec, Invalid, LegacyPolicySpec,
        PeerAuthentication, PeerAuthenticationSpec, Reason, ServiceEntry, ServiceEntrySpec,
        VirtualService, VirtualServiceSpec,
    },
    workload::ObjectName,
};

/// An object as the API has it. Unknown fields are refused: a misspelt `spec` would drop all that it says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyObject<S> {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    metadata: Metadata,
    spec: Option<S>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

/// [`ObjectMeta`](super::api::ObjectMeta) without anything else: a misspelt `namespace` would put the document into
/// another one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<jiff::Timestamp>,
    #[serde(rename = "labels")]
    _labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "name")]
    _name: Option<IgnoredAny>,
    #[serde(rename = "namespace")]
    _namespace: Option<IgnoredAny>,
    #[serde(rename = "generateName")]
    _generate_name: Option<IgnoredAny>,
    #[serde(rename = "selfLink")]
    _self_link: Option<IgnoredAny>,
    #[serde(rename = "uid")]
    _uid: Option<IgnoredAny>,
    #[serde(rename = "resourceVersion")]
    _resource_version: Option<IgnoredAny>,
    #[serde(rename = "generation")]
    _generation: Option<IgnoredAny>,
    #[serde(rename = "deletionTimestamp")]
    _deletion_timestamp: Option<IgnoredAny>,
    #[serde(rename = "deletionGracePeriodSeconds")]
    _deletion_grace_period: Option<IgnoredAny>,
    #[serde(rename = "ownerReferences")]
    _owner_references: Option<IgnoredAny>,
    #[serde(rename = "finalizers")]
    _finalizers: Option<IgnoredAny>,
    #[serde(rename = "managedFields")]
    _managed_fields: Option<IgnoredAny>,
    #[serde(rename = "clusterName")]
    _cluster_name: Option<IgnoredAny>,
}

const DRY_RUN: &str = "istio.io/dry-run";

impl FromObject for AuthorizationPolicy {
    type Object = PolicyObject<AuthorizationPolicySpec>;

    fn from_object(name: &ObjectName, object: Self::Object) -> Result<Self, Vec<BadField>> {
        let document = reference(DocumentKind::AuthorizationPolicy, name);
        let annotations = object.metadata.annotations.unwrap_or_default();
        let dry_run = dry_run(annotations.get(DRY_RUN).map(String::as_str));
        let spec = object.spec.unwrap_or_default();
        let read = Self::new(document, matches!(dry_run, Ok(true)), spec);
        match (dry_run, read) {
            (Ok(_), read) => read.map_err(bad_fields),
            (Err(bad), Ok(_)) => Err(vec![bad.into()]),
            (Err(bad), Err(more)) => {
                let mut all = bad_fields(more);
                all.push(bad.into());
                Err(all)
            }
        }
    }
}

/// Kinds whose documents are their name, their age and their specification.
macro_rules! plain {
    ($($kind:ident: $spec:ident,)*) => {$(
        impl FromObject for $kind {
            type Object = PolicyObject<$spec>;

            fn from_object(name: &ObjectName, object: Self::Object) -> Result<Self, Vec<BadField>> {
                let document = reference(DocumentKind::$kind, name);
                let created = metadata::seconds(object.metadata.creation_timestamp.as_ref());
                let spec = object.spec.unwrap_or_default();
                Self::new(document, created, spec).map_err(bad_fields)
            }
        }
    )*};
}

plain! {
    PeerAuthentication: PeerAuthenticationSpec,
    DestinationRule: DestinationRuleSpec,
    ServiceEntry: ServiceEntrySpec,
    VirtualService: VirtualServiceSpec,
    Gateway: GatewaySpec,
}

/// What Istio had before 1.5: `Policy` or `MeshPolicy`.
#[derive(Debug)]
pub struct LegacyPolicy(pub PeerAuthentication);

impl FromObject for LegacyPolicy {
    type Object = PolicyObject<LegacyPolicySpec>;

    fn from_object(name: &ObjectName, object: Self::Object) -> Result<Self, Vec<BadField>> {
        // Istio knew only the one that is called so.
        let kind = if name.namespace.is_empty() {
            DocumentKind::MeshPolicy
        } else {
            DocumentKind::Policy
        };
        let document = reference(kind, name);
        if &*name.name != "default" {
            let field = FieldPath::of("metadata.name");
            return Err(vec![BadField::new(
                field,
                Problem::Policy(Reason::LegacyName),
            )]);
        }
        let created = metadata::seconds(object.metadata.creation_timestamp.as_ref());
        let spec = object.spec.unwrap_or_default();
        let read = PeerAuthentication::from_legacy(document, created, &spec);
        read.map(Self).map_err(bad_fields)
    }
}

fn reference(kind: DocumentKind, name: &ObjectName) -> DocumentRef {
    DocumentRef::new(kind, &name.namespace, &name.name)
}

/// Istio reads it as Go's `strconv.ParseBool`; what that doesn't know is refused, for a policy that was meant to
/// be tried would be enforced.
fn dry_run(written: Option<&str>) -> Result<bool, BadDryRun> {
    match written {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(other) => Err(BadDryRun(other.to_owned())),
    }
}

#[derive(Clone, Debug)]
struct BadDryRun(String);

impl From<BadDryRun> for BadField {
    fn from(BadDryRun(written): BadDryRun) -> Self {
        let field = FieldPath::of("metadata.annotations").key(DRY_RUN);
        Self::new(field, Problem::Inject(written))
    }
}

fn bad_fields(invalid: Vec<Invalid>) -> Vec<BadField> {
    let bad = |Invalid { field, reason }| BadField::new(field, Problem::Policy(reason));
    invalid.into_iter().map(bad).collect()
}
