//! Text as rules write it: exact, with `*` at one end, or `*` alone for anything that is there.

use std::fmt;

use crate::identity::TrustDomain;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy) enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    /// Anything but nothing.
    Present,
}

impl Pattern {
    /// `None` for a `*` anywhere but at one of the ends: it would never match.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = |rest: &str| (!rest.contains('*')).then(|| rest.to_owned());
        if text == "*" {
            return Some(Self::Present);
        }
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(rest), _) => plain(rest).map(Self::Suffix),
            (None, Some(rest)) => plain(rest).map(Self::Prefix),
            (None, None) => plain(text).map(Self::Exact),
        }
    }

    /// What is written beside the `*`, if anything is.
    pub(in crate::policy) fn text(&self) -> Option<&str> {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => Some(text),
            Self::Present => None,
        }
    }

    /// As far as it says it whole.
    pub(in crate::policy) fn trust_domain(&self) -> Option<&str> {
        match self {
            Self::Exact(text) | Self::Prefix(text) => Some(text.split_once('/')?.0),
            Self::Suffix(_) | Self::Present => None,
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::Present => !text.is_empty(),
        }
    }

    /// A principal of the mesh's own trust domain stands for those of its aliases too, and `cluster.local` for
    /// whatever the mesh's own is called (Istio, pilot/pkg/trustdomain: `ReplaceTrustDomainAliases`).
    pub(super) fn in_domains(self, domains: &[TrustDomain]) -> Vec<Self> {
        let is_suffix = matches!(self, Self::Suffix(_));
        let Some((_, path)) = self.in_mesh(domains) else {
            return vec![self];
        };
        let renamed = domains.iter().map(|domain| {
            let text = format!("{domain}/{path}");
            match self {
                Self::Prefix(_) => Self::Prefix(text),
                _ => Self::Exact(text),
            }
        });
        let renamed: Vec<_> = renamed.collect();
        match is_suffix {
            true => [vec![self], renamed].concat(),
            false => renamed,
        }
    }

    /// Whether it would be another one [in these domains](Self::in_domains).
    pub(super) fn is_renamed_in(&self, domains: &[TrustDomain]) -> bool {
        self.in_mesh(domains)
            .is_some_and(|(written, _)| !matches!(domains, [own] if own.as_str() == written))
    }

    /// Trust domain and path of a principal of the mesh.
    fn in_mesh(&self, domains: &[TrustDomain]) -> Option<(&str, &str)> {
        let (Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text)) = self else {
            return None;
        };
        let is_suffix = matches!(self, Self::Suffix(_));
        let (domain, path) = text.split_once('/')?;
        let is_meant = |d: &TrustDomain| match is_suffix {
            // `*/ns/…` is any domain anyway.
            true => !domain.is_empty() && d.as_str().ends_with(domain),
            false => d.as_str() == domain,
        };
        let ours = domain == "cluster.local" && !is_suffix || domains.iter().any(is_meant);
        (ours && path.split('/').count() == 4).then_some((domain, path))
    }
}

/// As it is written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Present => f.write_str("*"),
        }
    }
}
