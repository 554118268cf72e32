//! What a caller may have: its own identity, and a node's agent those of the pods on its node.

use std::{fmt, str::FromStr};

use super::{
    CaService, Refusal,
    caller::{Caller, Proof},
};
use crate::identity::SpiffeId;

/// Where workloads run, as the source of workloads knows it.
pub trait Placement: Send + Sync + 'static {
    /// Whether a pod of this identity runs on the node.
    fn runs_on(&self, identity: &SpiffeId, node: &str) -> bool;
    /// Whether a pod of this identity runs anywhere.
    fn exists(&self, identity: &SpiffeId) -> bool;
    /// Whether there is a source, and it has been read.
    fn is_read(&self) -> bool;
}

/// `NAMESPACE/SERVICE-ACCOUNT` of the nodes' agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAccount {
    namespace: String,
    account: String,
}

/// Why a text names no account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not NAMESPACE/SERVICE-ACCOUNT")]
pub struct ParseNodeAccountError(String);

impl NodeAccount {
    fn is_of(&self, identity: &SpiffeId) -> bool {
        identity.namespace() == self.namespace && identity.service_account() == self.account
    }
}

impl FromStr for NodeAccount {
    type Err = ParseNodeAccountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, account))
                if !namespace.is_empty() && !account.is_empty() && !account.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    account: account.to_owned(),
                })
            }
            _ => Err(ParseNodeAccountError(text.to_owned())),
        }
    }
}

impl fmt::Display for NodeAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.account)
    }
}

impl CaService {
    /// The identity that is certified.
    pub(super) fn granted(
        &self,
        caller: &Caller,
        impersonated: Option<&str>,
    ) -> Result<SpiffeId, Refusal> {
        let domain = self.ca.trust_domain();
        let wanted: SpiffeId = match impersonated {
            Some(text) => text.parse().map_err(Refusal::Identity)?,
            None => caller.identity.clone(),
        };
        if wanted.trust_domain() != domain {
            return Err(Refusal::TrustDomain(domain.clone()));
        }
        if wanted == caller.identity {
            return self.own(caller);
        }
        let node_account = self.node_accounts.iter().any(|a| a.is_of(&caller.identity));
        if !node_account {
            return Err(Refusal::NotNodeAccount);
        }
        // A certificate doesn't say on which node its holder is.
        let Proof::Token { node: Some(node) } = &caller.proof else {
            return Err(Refusal::NodeUnknown);
        };
        if self.placement.runs_on(&wanted, node) {
            Ok(wanted)
        } else {
            Err(Refusal::NotOnNode { node: node.clone() })
        }
    }

    /// A certificate proves that its pod is there of a time that is past: a key that was stolen from a pod must not live
    /// on by renewal. So does a token, unless the API server is asked about it.
    fn own(&self, caller: &Caller) -> Result<SpiffeId, Refusal> {
        let is_proven = match caller.proof {
            Proof::Certificate => false,
            Proof::Token { .. } => self.tokens.are_reviewed() || !self.placement.is_read(),
        };
        if !is_proven && !self.placement.exists(&caller.identity) {
            return Err(Refusal::Gone);
        }
        Ok(caller.identity.clone())
    }
}
