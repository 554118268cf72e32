//! What becomes of a flow, and why.

use serde::{Deserialize, Serialize};

use crate::{
    policy::Refusal,
    review::course::{Answer, Transport},
};

/// What policy makes of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Judged {
    pub verdict: Answer,
    pub reason: Option<Cause>,
    pub security: Transport,
    /// `KIND/NAMESPACE/NAME`.
    pub decided_by: Vec<String>,
    /// Where a VirtualService sends it, if it is another server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Sent>,
}

impl Judged {
    /// Whether it is refused, or in clear, where it was not.
    pub(super) fn is_worse_than(&self, before: &Self) -> bool {
        let in_clear = |judged: &Self| judged.security == Transport::Plaintext;
        match (before.verdict, self.verdict) {
            (Answer::Allow, Answer::Deny) => true,
            (Answer::Allow, Answer::Allow) => in_clear(self) && !in_clear(before),
            (Answer::Deny, _) => false,
        }
    }
}

/// Where connections are sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sent {
    /// `HOST:PORT` that the client asks for.
    pub asked: String,
    /// `HOST:PORT`; `None`: nowhere.
    pub to: Option<String>,
    pub subset: Option<String>,
}

/// Why a flow is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    PlaintextInStrict,
    AuthorizationDenied,
    AuthorizationNotAllowed,
    /// The client is told to send what the server doesn't take.
    DestinationRuleConflict,
    /// It is sent nowhere, or where it is refused.
    Route,
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PlaintextInStrict => Self::PlaintextInStrict,
            Refusal::AuthorizationDenied => Self::AuthorizationDenied,
            Refusal::AuthorizationNotAllowed => Self::AuthorizationNotAllowed,
        }
    }
}
