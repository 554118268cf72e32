//! What would change, in sentences: one for each reason and document.

use std::collections::BTreeSet;

use super::diff::{Cause, Lists, Reason, Summary, Tally};

/// So many clients are named.
const NAMED: usize = 5;

pub(super) fn all(summary: &Summary, lists: &Lists) -> Vec<String> {
    let cuts = lists.cut.tallies().iter().map(|(reason, tally)| {
        let why = subject(reason, tally);
        format!("{why} would cut {}", whose([tally]))
    });
    let allows = lists.allowed.tallies().iter().map(|(reason, tally)| {
        let why = subject(reason, tally);
        format!("{why} would no longer refuse {}", whose([tally]))
    });
    let exposes = lists.exposed.tallies().iter();
    let exposes = exposes.map(|((_, documents), tally)| {
        format!(
            "{} would leave unencrypted {}",
            by(documents),
            whose([tally])
        )
    });
    let leads = lists.elsewhere.tallies().iter();
    let leads = leads.map(|((_, documents), tally)| {
        let whose = whose([tally]);
        format!(
            "{} would send elsewhere {whose}, when they connect anew",
            by(documents)
        )
    });
    let mut text: Vec<_> = cuts.chain(exposes).chain(allows).chain(leads).collect();
    text.extend(uncertain(lists));
    let ending = lists.reconnecting.tallies();
    if !ending.is_empty() {
        let open: u64 = ending.values().map(|tally| tally.open).sum();
        text.push(format!(
            "{} in plaintext would end, and their clients come back in mutual TLS: {}",
            counted(open, "open connection"),
            whose(ending.values())
        ));
    }
    if text.is_empty() {
        let flows = counted(summary.flows, "flow");
        text.push(format!("nothing would change for {flows}"));
    }
    text
}

/// What nobody can tell.
fn uncertain(lists: &Lists) -> impl Iterator<Item = String> {
    lists.uncertain.tallies().iter().map(|((cause, documents), tally)| {
        let what = match cause {
            Some(_) => "refuse",
            None => "send elsewhere",
        };
        format!(
            "{} may {what} {}: it is not known what their clients have asked for, or where that will be",
            by(documents),
            whose([tally])
        )
    })
}

fn by(documents: &[String]) -> String {
    match documents {
        [] => "policy".to_owned(),
        by => by.join(", "),
    }
}

/// Such as `STRICT in namespace shop (PeerAuthentication/shop/default)`.
fn subject((cause, documents): &Reason, tally: &Tally) -> String {
    let what = match cause {
        Some(Cause::PlaintextInStrict) => "STRICT",
        Some(Cause::AuthorizationDenied) => "DENY",
        Some(Cause::AuthorizationNotAllowed) => "ALLOW of others",
        Some(Cause::DestinationRuleConflict) => "the conflict of what is sent and what is taken",
        Some(Cause::Route) => "the way of connections to servers",
        None => "policy",
    };
    let namespaces: Vec<_> = tally.namespaces.iter().map(String::as_str).collect();
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
fn whose<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> String {
    let (mut clients, mut flows) = (BTreeSet::new(), 0);
    for tally in tallies {
        clients.extend(tally.clients.iter().map(String::as_str));
        flows += tally.flows;
    }
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
        counted(flows, "flow"),
        counted(clients.len() as u64, noun),
        names.join(", ")
    )
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
