//! SPIFFE IDs in the form that Istio uses for Kubernetes workloads.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Bytes of a SPIFFE ID (SPIFFE-ID specification, section 2.3).
const MOST: usize = 2048;

/// A trust domain name (SPIFFE-ID specification, section 2.1): lower-case letters, digits, `.`, `-`, `_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

/// `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId(Arc<Parts>);

/// Shared: connections keep the identities of both of their ends.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    trust_domain: TrustDomain,
    /// All of it in one place: authorization compares whole principals and looks at their parts.
    principal: Box<str>,
    /// Length.
    namespace: usize,
}

/// Why a text is not a SPIFFE ID of a Kubernetes workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpiffeIdError {
    #[error("`{0}` does not start with `spiffe://`")]
    Scheme(String),
    #[error(
        "`{0}` is not a trust domain: 1 to 255 of lower-case letters, digits, `.`, `-` and `_`"
    )]
    TrustDomain(String),
    #[error("a SPIFFE ID of {0} bytes: it has at most {MOST}")]
    Length(usize),
    #[error("the path of `{0}` is not `/ns/NAMESPACE/sa/SERVICE-ACCOUNT`")]
    Path(String),
}

impl TrustDomain {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = ParseSpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=255).contains(&text.len())
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ParseSpiffeIdError::TrustDomain(text.to_owned()))
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SpiffeId {
    /// The identity of a service account.
    ///
    /// # Errors
    /// When a name is empty or holds anything but what a SPIFFE path segment may
    /// (letters, digits, `.`, `-`, `_`; not `.` or `..`).
    pub fn new(
        trust_domain: TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, ParseSpiffeIdError> {
        let principal = format!("{trust_domain}/ns/{namespace}/sa/{service_account}");
        if !is_segment(namespace) || !is_segment(service_account) {
            return Err(ParseSpiffeIdError::Path(format!("spiffe://{principal}")));
        }
        Ok(Self(Arc::new(Parts {
            trust_domain,
            principal: principal.into(),
            namespace: namespace.len(),
        })))
    }

    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        let start = self.0.trust_domain.as_str().len() + "/ns/".len();
        &self.0.principal[start..start + self.0.namespace]
    }

    #[must_use]
    pub fn service_account(&self) -> &str {
        let names = self.0.trust_domain.as_str().len() + "/ns/".len();
        &self.0.principal[names + self.0.namespace + "/sa/".len()..]
    }

    /// As `AuthorizationPolicy` spells principals: without the scheme.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.0.principal
    }
}

/// Part of a path (SPIFFE-ID specification, section 2.2).
pub(crate) fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

impl FromStr for SpiffeId {
    type Err = ParseSpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MOST {
            return Err(ParseSpiffeIdError::Length(text.len()));
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or_else(|| ParseSpiffeIdError::Scheme(text.to_owned()))?;
        let (domain, path) = rest
            .split_once('/')
            .ok_or_else(|| ParseSpiffeIdError::Path(text.to_owned()))?;
        let trust_domain = domain.parse()?;
        let mut segments = path.split('/');
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Self::new(trust_domain, namespace, account)
            }
            _ => Err(ParseSpiffeIdError::Path(text.to_owned())),
        }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = ParseSpiffeIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.principal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_istio_identities() {
        let text = "spiffe://cluster.local/ns/default/sa/web-frontend";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.principal(), "cluster.local/ns/default/sa/web-frontend");
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "https://cluster.local/ns/a/sa/b",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
            "spiffe://td",
            "spiffe://td/ns/a/sa/",
            "spiffe://td/ns//sa/b",
            "spiffe://td/ns/a/sa/b/",
            "spiffe://td/ns/../sa/b",
            "spiffe://td/ns/a/sa/b?c",
            "spiffe://td:80/ns/a/sa/b",
            "spiffe://td/ns/a/sa/b%2fc",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }
}
