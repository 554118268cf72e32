//! What was probably meant by a name that nobody has.

use std::fmt;

use crate::{store::Snapshot, workload::ObjectName};

/// So many are named.
const NAMED: usize = 3;

/// Names that are much like one that nobody has, the nearest first. Reads after the complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Similar(Vec<String>);

impl Similar {
    /// Of pods and services.
    pub(super) fn names(snapshot: &Snapshot, asked: &ObjectName) -> Self {
        let pods = snapshot.workloads().map(|workload| &workload.name);
        let services = snapshot.services().filter(|s| s.outside.is_none());
        let all = pods.chain(services.map(|service| &service.name));
        let ranked = all.filter_map(|known| {
            let distance = distance(&asked.name, &known.name)?;
            let elsewhere = known.namespace != asked.namespace;
            Some((distance + usize::from(elsewhere), known.to_string()))
        });
        Self::nearest(ranked)
    }

    /// Of services.
    pub(super) fn hosts(snapshot: &Snapshot, asked: &str) -> Self {
        let services = snapshot.services();
        let ranked = services.filter_map(|service| {
            let ObjectName { namespace, name } = &service.name;
            let short = format!("{name}.{namespace}");
            let distances = [&service.host, &short].map(|host| distance(asked, host));
            let distance = distances.into_iter().flatten().min()?;
            Some((distance, service.host.clone()))
        });
        Self::nearest(ranked)
    }

    fn nearest(ranked: impl Iterator<Item = (usize, String)>) -> Self {
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_unstable();
        let mut names: Vec<_> = ranked.into_iter().map(|(_, name)| name).collect();
        names.dedup();
        names.truncate(NAMED);
        Self(names)
    }
}

/// `None`: they have nothing in common. A pod is called as its controller, and something more.
fn distance(asked: &str, known: &str) -> Option<usize> {
    let rest = known.strip_prefix(asked);
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.'])) {
        return Some(0);
    }
    let allowed = (asked.chars().count() / 4).clamp(1, 3);
    let distance = strsim::damerau_levenshtein(asked, known);
    (distance <= allowed).then_some(distance)
}

impl fmt::Display for Similar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => Ok(()),
            names => write!(f, ": did you mean {}?", names.join(" or ")),
        }
    }
}
