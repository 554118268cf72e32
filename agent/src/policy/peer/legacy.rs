//! `authentication.istio.io/v1alpha1`, which Istio had before 1.5: `Policy` of a namespace and `MeshPolicy`
//! (<https://istio.io/v1.4/docs/reference/config/security/istio.authentication.v1alpha1/>), as far as it is about
//! peers. Says the same as a `PeerAuthentication` without selector.

use serde::{Deserialize, de::IgnoredAny};

use super::{Mode, PeerAuthentication};
use crate::policy::{DocumentRef, FieldPath, Invalid, Reason, field::refuse, selector::Labels};

/// `spec`. What is about services or end users is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LegacyPolicySpec {
    peers: Option<Vec<Peer>>,
    peer_is_optional: Option<bool>,
    targets: Option<Vec<IgnoredAny>>,
    origins: Option<Vec<IgnoredAny>>,
    origin_is_optional: Option<bool>,
    principal_binding: Option<PrincipalBinding>,
}

/// Who is meant by a rule's source: of the peer's certificate, or of the user's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum PrincipalBinding {
    UsePeer,
    UseOrigin,
}

/// `peers[]`: mutual TLS is the only kind there is. `mtls:` without anything is STRICT.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    mtls: Option<MutualTls>,
    jwt: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct MutualTls {
    mode: Option<LegacyMode>,
    /// TLS without a client certificate was allowed, but never checked for anything.
    allow_tls: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum LegacyMode {
    Strict,
    Permissive,
}

impl PeerAuthentication {
    /// # Errors
    /// What has no equivalent.
    pub fn from_legacy(
        document: DocumentRef,
        created: Option<i64>,
        spec: &LegacyPolicySpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let is_set = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|l| !l.is_empty());
        let at = FieldPath::of("spec");
        let targets = [("targets", is_set(&spec.targets))];
        refuse(&at, &targets, &Reason::Legacy, &mut errors);
        let bound_to_tokens = spec.principal_binding == Some(PrincipalBinding::UseOrigin);
        let of_tokens = [
            ("origins", is_set(&spec.origins)),
            ("originIsOptional", spec.origin_is_optional == Some(true)),
            ("principalBinding", bound_to_tokens),
        ];
        refuse(&at, &of_tokens, &Reason::Token, &mut errors);
        let peers = spec.peers.as_deref().unwrap_or_default();
        for (index, peer) in peers.iter().enumerate() {
            let at = FieldPath::of("spec.peers").index(index);
            if peer.jwt.is_some() {
                errors.push(Invalid::new(at.clone().key("jwt"), Reason::Token));
            }
            if peer
                .mtls
                .as_ref()
                .is_some_and(|m| m.allow_tls == Some(true))
            {
                let field = at.key("mtls").key("allowTls");
                errors.push(Invalid::new(field, Reason::Legacy));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mode = peers.first().map_or(Mode::Disable, |peer| {
            let written = peer.mtls.as_ref().and_then(|m| m.mode);
            let optional = spec.peer_is_optional == Some(true);
            match written {
                Some(LegacyMode::Permissive) => Mode::Permissive,
                _ if optional => Mode::Permissive,
                Some(LegacyMode::Strict) | None => Mode::Strict,
            }
        });
        Ok(Self {
            document,
            created,
            labels: Labels::new(),
            mode: Some(mode),
            ports: std::collections::BTreeMap::new(),
        })
    }
}
