//! `security.istio.io/v1/PeerAuthentication`.

use serde::Deserialize;

use super::{BadField, FromObject, api::ObjectMeta, metadata};
use crate::{
    control::yaml::FieldPath,
    policy::{CompileError, PeerAuthentication, PeerAuthenticationSpec, PolicyRef},
    workload::ObjectName,
};

/// The object as the API has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerAuthenticationObject {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    metadata: ObjectMeta,
    spec: Option<PeerAuthenticationSpec>,
    #[serde(rename = "status")]
    _status: Option<serde::de::IgnoredAny>,
}

/// The document, and the lines of the fields that compiling may complain about.
#[derive(Debug)]
pub struct PeerAuthenticationFacts {
    pub document: PeerAuthentication,
    /// Filled in by the reader: a field and the line where it stands.
    pub lines: Vec<(FieldPath, usize)>,
}

impl FromObject for PeerAuthenticationFacts {
    type Object = PeerAuthenticationObject;

    fn from_object(
        name: &ObjectName,
        object: PeerAuthenticationObject,
    ) -> Result<Self, Vec<BadField>> {
        Ok(Self {
            document: PeerAuthentication {
                reference: PolicyRef {
                    namespace: name.namespace.to_string(),
                    name: name.name.to_string(),
                },
                created: metadata::seconds(object.metadata.creation_timestamp.as_ref()),
                spec: object.spec.unwrap_or_default(),
            },
            lines: Vec::new(),
        })
    }
}

impl PeerAuthenticationFacts {
    /// Fields whose lines a compile error may need.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldPath> {
        let spec = &self.document.spec;
        let ports = FieldPath::of("spec.portLevelMtls");
        let labels = FieldPath::of("spec.selector.matchLabels");
        let keys = spec.selector.iter().flat_map(|s| s.match_labels.keys());
        std::iter::once(ports.clone())
            .chain(spec.port_level_mtls.keys().map(|k| ports.clone().key(k)))
            .chain(keys.map(|key| labels.clone().key(key)))
            .collect()
    }

    /// Field and line of an error; line 0 if it isn't known.
    #[must_use]
    pub fn locate(&self, error: &CompileError) -> (FieldPath, usize) {
        let path = error
            .field()
            .into_iter()
            .fold(FieldPath::default(), FieldPath::key);
        let line = self.lines.iter().find(|(field, _)| *field == path);
        let line = line.map_or(0, |(_, line)| *line);
        (path, line)
    }
}
