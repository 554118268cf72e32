//! One log line per connection, written when it ends, through the target `sealane::access`.

use std::{net::SocketAddr, time::Duration};

use super::{Direction, RefusalReason, Security, Transport};
use crate::{identity::SpiffeId, policy::Mode, workload::ObjectName};

/// What the log tells of a connection. Absent fields are left out of the line.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    pub direction: Direction,
    pub source: SocketAddr,
    pub source_workload: Option<&'a ObjectName>,
    /// Proven by a certificate, not assumed from an address.
    pub source_principal: Option<&'a SpiffeId>,
    /// As the client asked for it: the service's address where it used one.
    pub destination: SocketAddr,
    pub destination_service: Option<&'a str>,
    pub destination_workload: Option<&'a ObjectName>,
    pub destination_principal: Option<&'a SpiffeId>,
    pub security: Security,
    /// How the bytes moved; `None` when there was nothing to move.
    pub transport: Option<Transport>,
    pub mode: Mode,
    /// From the server to the client, in bytes of the application.
    pub sent_bytes: u64,
    /// From the client to the server, in bytes of the application.
    pub received_bytes: u64,
    pub duration: Duration,
    /// Why it was refused; `None` when it was carried to its end.
    pub refused: Option<RefusalReason>,
    /// What went wrong, for people: an error's text.
    pub error: Option<&'a str>,
}

impl AccessRecord<'_> {
    /// Writes the line.
    pub fn log(&self) {
        tracing::info!(
            target: "sealane::access",
            direction = self.direction.as_str(),
            source = %self.source,
            source_workload = self.source_workload.map(display),
            source_principal = self.source_principal.map(display),
            destination = %self.destination,
            destination_service = self.destination_service,
            destination_workload = self.destination_workload.map(display),
            destination_principal = self.destination_principal.map(display),
            security = self.security.as_str(),
            transport = self.transport.map(Transport::as_str),
            mode = %self.mode,
            sent_bytes = self.sent_bytes,
            received_bytes = self.received_bytes,
            duration_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            result = if self.refused.is_some() { "refused" } else { "closed" },
            reason = self.refused.map(RefusalReason::as_str),
            error = self.error,
            "connection"
        );
    }
}
