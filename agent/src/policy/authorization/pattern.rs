//! Text as rules write it: exact, with `*` at one end, or `*` alone for anything that is there.

use crate::identity::TrustDomain;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pattern {
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
        let (Self::Exact(text) | Self::Prefix(text)) = &self else {
            return vec![self];
        };
        let Some((domain, path)) = text.split_once('/') else {
            return vec![self];
        };
        let ours = domain == "cluster.local" || domains.iter().any(|d| d.as_str() == domain);
        if !ours || path.split('/').count() != 4 {
            return vec![self];
        }
        let renamed = domains.iter().map(|domain| {
            let text = format!("{domain}/{path}");
            match self {
                Self::Prefix(_) => Self::Prefix(text),
                _ => Self::Exact(text),
            }
        });
        renamed.collect()
    }
}
