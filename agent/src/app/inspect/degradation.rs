//! What of a cluster is not in force as it should be, while the agent works.

use crate::{
    admin::api,
    control::{HeldBack, NotFound, SourceStatus},
    workload::Workload,
};

/// More of a kind are only counted.
const MOST: usize = 20;

/// Why nobody says where a workload lives.
pub(super) enum Nowhere {
    /// Its object doesn't.
    Unsaid,
    /// It is being looked for.
    Looked,
    /// With since when, and what to do about it.
    Missing(String),
}

/// For readiness.
pub(super) fn lines(source: &SourceStatus) -> Vec<String> {
    let held = |held: &HeldBack| {
        let namespace = &held.namespace;
        match held.closed {
            true => format!("policy: namespace {namespace} is closed: {}", held.error),
            false => format!(
                "policy: namespace {namespace} is as it was last: {}",
                held.error
            ),
        }
    };
    let missing = |missing: &NotFound| {
        let NotFound { pod, since, reason } = missing;
        format!("capture: pod {pod} is not found since {since}: {reason}")
    };
    let mut lines = first(&source.held_back, held);
    lines.extend(first(&source.not_found, missing));
    lines
}

fn first<T>(all: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    let mut texts: Vec<_> = all.iter().take(MOST).map(text).collect();
    if all.len() > MOST {
        texts.push(format!("and {} more", all.len() - MOST));
    }
    texts
}

pub(super) fn held_back(held: HeldBack) -> api::HeldBack {
    let HeldBack {
        namespace,
        mesh_wide,
        closed,
        error,
    } = held;
    api::HeldBack {
        namespace,
        mesh_wide,
        closed,
        error,
    }
}

pub(super) fn not_found(missing: NotFound) -> api::NotFound {
    let NotFound { pod, since, reason } = missing;
    api::NotFound {
        pod: pod.to_string(),
        since,
        reason: reason.to_owned(),
    }
}

/// Of a workload of a cluster.
pub(super) fn nowhere(workload: &Workload, not_found: &[NotFound]) -> Nowhere {
    let missing = not_found.iter().find(|m| m.pod == workload.name);
    missing.map_or(Nowhere::Looked, |NotFound { since, reason, .. }| {
        Nowhere::Missing(format!("not found on this node since {since}: {reason}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_and_many_are_counted() {
        let held = |number: usize| HeldBack {
            namespace: format!("n{number}"),
            mesh_wide: false,
            closed: number == 0,
            error: "spec".to_owned(),
        };
        let mut source = SourceStatus {
            held_back: vec![held(0), held(1)],
            ..SourceStatus::default()
        };
        let told = lines(&source);
        assert!(told[0].contains("n0 is closed") && told[1].contains("n1 is as it was"));
        source.held_back = (0..MOST + 3).map(held).collect();
        assert_eq!(lines(&source).len(), MOST + 1);
        assert_eq!(lines(&source)[MOST], "and 3 more");
    }
}
