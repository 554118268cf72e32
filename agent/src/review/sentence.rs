//! What would change, in sentences: one for each reason and document.

use std::collections::{BTreeMap, BTreeSet};

use super::diff::{Cause, Change, Judged, Summary};

/// So many clients are named.
const NAMED: usize = 5;

/// `cut`, `allowed` and `reconnecting`, in this order.
pub(super) fn all(summary: &Summary, [cut, allowed, reconnecting]: [&[Change]; 3]) -> Vec<String> {
    let cuts = grouped(cut, |c| &c.subject.after)
        .into_iter()
        .map(|(reason, changes)| {
            let why = subject(&reason, &changes);
            format!("{why} would cut {}", whose(&changes))
        });
    let allows = grouped(allowed, |c| &c.subject.before)
        .into_iter()
        .map(|(reason, changes)| {
            let why = subject(&reason, &changes);
            format!("{why} would no longer refuse {}", whose(&changes))
        });
    let mut text: Vec<_> = cuts.chain(allows).collect();
    if !reconnecting.is_empty() {
        let changes: Vec<_> = reconnecting.iter().collect();
        let open: u64 = changes.iter().map(|c| c.open).sum();
        text.push(format!(
            "{} in plaintext would end, and their clients come back in mutual TLS: {}",
            counted(open, "open connection"),
            whose(&changes)
        ));
    }
    if text.is_empty() {
        let flows = counted(summary.flows, "flow");
        text.push(format!("nothing would change for {flows}"));
    }
    text
}

/// Why, and by which documents.
type Reason = (Option<Cause>, Vec<String>);

fn grouped(changes: &[Change], decisive: fn(&Change) -> &Judged) -> Vec<(Reason, Vec<&Change>)> {
    let mut groups: BTreeMap<Reason, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        let judged = decisive(change);
        let reason = (judged.reason, judged.decided_by.clone());
        groups.entry(reason).or_default().push(change);
    }
    groups.into_iter().collect()
}

/// Such as `STRICT in namespace shop (PeerAuthentication/shop/default)`.
fn subject((cause, documents): &Reason, changes: &[&Change]) -> String {
    let what = match cause {
        Some(Cause::PlaintextInStrict) => "STRICT",
        Some(Cause::AuthorizationDenied) => "DENY",
        Some(Cause::AuthorizationNotAllowed) => "ALLOW of others",
        Some(Cause::DestinationRuleConflict) => "the conflict of what is sent and what is taken",
        None => "policy",
    };
    let servers = changes
        .iter()
        .filter_map(|c| c.subject.server.split_once('/'));
    let namespaces: BTreeSet<_> = servers.map(|(namespace, _)| namespace).collect();
    let namespaces: Vec<_> = namespaces.into_iter().collect();
    let place = match namespaces.as_slice() {
        [one] => format!("namespace {one}"),
        several => format!("namespaces {}", several.join(", ")),
    };
    match documents.as_slice() {
        [] => format!("{what} in {place}"),
        by => format!("{what} in {place} ({})", by.join(", ")),
    }
}

/// Such as `14 flows from 3 workloads (shop/a, shop/b, shop/c)`.
fn whose(changes: &[&Change]) -> String {
    let clients: BTreeSet<_> = changes.iter().map(|c| c.subject.client.as_str()).collect();
    let pods = clients.iter().all(|client| client.contains('/'));
    let noun = if pods { "workload" } else { "client" };
    let mut names: Vec<_> = clients
        .iter()
        .take(NAMED)
        .map(|c| (*c).to_owned())
        .collect();
    if clients.len() > NAMED {
        names.push(format!("{} more", clients.len() - NAMED));
    }
    format!(
        "{} from {} ({})",
        counted(changes.len() as u64, "flow"),
        counted(clients.len() as u64, noun),
        names.join(", ")
    )
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
