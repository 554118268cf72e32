//! `sealane flows` for people.

use jiff::Timestamp;

use super::table::{or_absent, relative, render};
use crate::{
    policy::{Flow, Protection},
    review::{Flows, SeenFlow},
};

pub(super) fn table(flows: &Flows) -> String {
    let now = Timestamp::now();
    let header = [
        "CLIENT",
        "PRINCIPAL",
        "SERVER",
        "PORT",
        "SECURITY",
        "CONNECTIONS",
        "REFUSED",
        "OPEN",
        "LAST SEEN",
    ];
    if flows.flows.is_empty() {
        return "No pod of this node was connected to in this time.\n".to_owned();
    }
    render(&header, flows.flows.iter().map(|seen| row(seen, now)))
}

fn row(seen: &SeenFlow, now: Timestamp) -> Vec<String> {
    let Flow {
        client,
        client_address,
        server,
        port,
        protection,
        ..
    } = &seen.flow;
    let (principal, security) = match protection {
        Protection::MutualTls {
            client_principal, ..
        } => (Some(client_principal.to_string()), "mutual_tls"),
        Protection::Plaintext => (None, "plaintext"),
    };
    let client = client.as_ref().map(ToString::to_string);
    vec![
        client.unwrap_or_else(|| client_address.to_string()),
        or_absent(principal.as_deref()),
        server.to_string(),
        port.to_string(),
        security.to_owned(),
        seen.connections.to_string(),
        seen.refused.to_string(),
        seen.open.to_string(),
        last_seen(seen.open, seen.last_seen, now),
    ]
}

/// `now` for what is open.
pub(super) fn last_seen(open: u64, last_seen: Option<Timestamp>, now: Timestamp) -> String {
    match last_seen {
        _ if open > 0 => "now".to_owned(),
        Some(time) => relative(time, now),
        None => or_absent(None),
    }
}
