//! Hosts as Istio's networking documents write them.

use std::fmt;

use super::{FieldPath, Invalid, Reason};

/// Which hosts are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    Exact(String),
    /// What follows the `*`.
    Suffix(String),
    /// A service's name, in the namespace of the document.
    Short(String),
}

impl Host {
    /// A name without dots is of the document's namespace; all others are whole (Istio: `ResolveShortnameToFQDN`).
    pub(super) fn parse(written: &str) -> Option<Self> {
        match written.strip_prefix('*') {
            Some(suffix) if suffix.contains('*') => None,
            Some(suffix) => (suffix.is_empty() || suffix.starts_with('.'))
                .then(|| Self::Suffix(suffix.to_ascii_lowercase())),
            None if written.is_empty() || !written.bytes().all(is_of_name) => None,
            None if written.contains('.') => Some(Self::Exact(written.to_ascii_lowercase())),
            None => Some(Self::Short(written.to_ascii_lowercase())),
        }
    }

    /// A field that must be there; `None` after a complaint.
    pub(super) fn required(
        written: Option<String>,
        field: FieldPath,
        errors: &mut Vec<Invalid>,
    ) -> Option<Self> {
        let written = written.filter(|written| !written.is_empty());
        let host = written.as_deref().and_then(Self::parse);
        if host.is_none() {
            let absent = "write a service's name, or a whole host name";
            let reason = written.map_or(Reason::Absent(absent), Reason::Host);
            errors.push(Invalid::new(field, reason));
        }
        host
    }

    /// Of one that is [whole](Self::whole).
    pub(super) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::Suffix(suffix) => host.ends_with(suffix.as_str()),
            Self::Short(_) => false,
        }
    }

    /// Whether every host is meant.
    pub(super) fn is_all(&self) -> bool {
        matches!(self, Self::Suffix(suffix) if suffix.is_empty())
    }

    /// Whether a host can be meant by both, which are [whole](Self::whole).
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Suffix(a), Self::Suffix(b)) => a.ends_with(b) || b.ends_with(a),
            (suffix @ Self::Suffix(_), Self::Exact(host) | Self::Short(host))
            | (Self::Exact(host) | Self::Short(host), suffix) => suffix.matches(host),
        }
    }

    /// Whether all that `other` means is meant, as both are written (Istio: `Name.SubsetOf`).
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Suffix(suffix), other) => match other {
                Self::Suffix(narrower) => narrower.ends_with(suffix.as_str()),
                Self::Exact(host) | Self::Short(host) => host.ends_with(suffix.as_str()),
            },
            (one, other) => one == other,
        }
    }

    #[must_use]
    pub(super) fn whole(self, namespace: &str, cluster_domain: &str) -> Self {
        match self {
            Self::Short(name) => Self::Exact(format!("{name}.{namespace}.svc.{cluster_domain}")),
            whole => whole,
        }
    }

    /// The higher, the fewer hosts it means.
    pub(super) fn specificity(&self) -> (bool, usize) {
        match self {
            Self::Exact(host) | Self::Short(host) => (true, host.len()),
            Self::Suffix(suffix) => (false, suffix.len()),
        }
    }

    /// All that [match](Self::matches) a host, the most specific first.
    pub(super) fn meaning(host: &str) -> impl Iterator<Item = Self> {
        let suffixes = host
            .match_indices('.')
            .filter_map(|(dot, _)| host.get(dot..));
        let suffixes = suffixes
            .chain([""])
            .map(|suffix| Self::Suffix(suffix.to_owned()));
        std::iter::once(Self::Exact(host.to_owned())).chain(suffixes)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) | Self::Short(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}
