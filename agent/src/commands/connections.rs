//! `sealane connections` for people.

use jiff::Timestamp;

use super::table::{bytes, duration, or_absent, render};
use crate::admin::api;

pub(super) fn table(connections: &[api::Connection]) -> String {
    if connections.is_empty() {
        return "No connection goes through the agent now.\n".to_owned();
    }
    let now = Timestamp::now();
    let header = [
        "ID",
        "DIRECTION",
        "SECURITY",
        "TRANSPORT",
        "SOURCE",
        "SOURCE PRINCIPAL",
        "DESTINATION",
        "DESTINATION PRINCIPAL",
        "SERVICE",
        "TLS",
        "MODE",
        "AGE",
        "SENT",
        "RECEIVED",
    ];
    render(&header, connections.iter().map(|c| row(c, now)))
}

fn row(connection: &api::Connection, now: Timestamp) -> Vec<String> {
    let service = connection
        .destination_service
        .as_deref()
        .or(connection.destination_workload.as_deref());
    vec![
        connection.id.to_string(),
        connection.direction.as_str().to_owned(),
        connection.security.as_str().to_owned(),
        connection.transport.clone(),
        connection.source.to_string(),
        or_absent(connection.source_principal.as_deref()),
        connection.destination.to_string(),
        or_absent(connection.destination_principal.as_deref()),
        or_absent(service),
        or_absent(connection.tls_version.as_deref()),
        connection.mode.clone(),
        duration(now.duration_since(connection.opened_at)),
        bytes(connection.sent_bytes),
        bytes(connection.received_bytes),
    ]
}
