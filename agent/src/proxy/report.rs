//! What the metrics and the access log tell of one connection.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    Proxy,
    carrier::Carrier,
    connections::{Connection, Phase, Registered, Session},
    dial::Published,
    outcome::Failure,
    relay::{Meter, RelayError},
};
use crate::{
    identity::SpiffeId,
    policy::Mode,
    telemetry::{
        AccessRecord, ActiveConnection, Direction, PeerLabels, ResponseFlags, Security,
        ServiceLabels, TcpLabels, TcpSeries,
    },
    workload::Workload,
};

/// Accompanies a connection from its registration to its end.
pub(super) struct Report<C: Carrier = Proxy> {
    carrier: Arc<C>,
    registered: Registered,
    series: Option<TcpSeries>,
    _active: ActiveConnection,
}

impl<C: Carrier> Report<C> {
    pub(super) fn new(carrier: Arc<C>, registered: Registered) -> Self {
        let direction = registered.connection.direction;
        Self {
            series: None,
            _active: carrier.metrics().connection_active(direction),
            carrier,
            registered,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.registered.connection
    }

    /// Counts the beginning of the relay. Istio's metrics don't know probes.
    pub(super) fn opened(&mut self) {
        self.connection().enter(Phase::Open);
        if matches!(self.connection().session(), Some(Session::Probe)) {
            return;
        }
        let series = self
            .carrier
            .metrics()
            .tcp(&self.labels(ResponseFlags::None));
        series.opened();
        self.series = Some(series);
    }

    /// The application is not asked for its peer any more.
    pub(super) fn withdraw(&self, published: Published) {
        let application = self.connection().destination;
        self.carrier.withdraw(published, application);
    }

    /// Counts and logs the end.
    pub(super) fn finish(self, result: &Result<(), Failure>) {
        let refused = result.as_ref().err().and_then(Failure::refusal);
        if let Some(reason) = refused {
            let direction = self.connection().direction;
            self.carrier.metrics().connection_refused(direction, reason);
        }
        self.carrier.ended(self.connection(), refused);
        let flags = match result {
            Ok(()) | Err(Failure::Abandoned) => ResponseFlags::None,
            Err(failure) => response_flags(failure, self.connection().direction),
        };
        match &self.series {
            Some(series) if flags == ResponseFlags::None => series.closed(),
            Some(_) => self.carrier.metrics().tcp(&self.labels(flags)).closed(),
            None => {}
        }
        self.log(result);
    }

    fn log(&self, result: &Result<(), Failure>) {
        let connection = self.connection();
        let route = connection.route();
        let (source_principal, destination_principal) = self.principals();
        let error = result.as_ref().err().map(ToString::to_string);
        AccessRecord {
            direction: connection.direction,
            source: connection.client,
            source_workload: route.and_then(|r| r.source.as_ref()).map(|w| &w.name),
            source_principal,
            destination: connection.destination,
            destination_service: route
                .and_then(|r| r.service.as_ref())
                .map(|s| s.host.as_str()),
            destination_workload: route.and_then(|r| r.server.as_ref()).map(|w| &w.name),
            destination_principal,
            security: self.security(),
            transport: connection.transport(),
            mode: route.map_or(Mode::Permissive, |r| r.mode),
            sent_bytes: connection.sent.load(Relaxed),
            received_bytes: connection.received.load(Relaxed),
            duration: connection.age(),
            refused: result.as_ref().err().and_then(Failure::refusal),
            error: error.as_deref(),
        }
        .log();
    }

    fn labels(&self, response_flags: ResponseFlags) -> TcpLabels {
        let route = self.connection().route();
        let (source, destination) = self.principals();
        let peer = |workload: Option<&Workload>, principal| {
            workload.map_or_else(PeerLabels::unknown, |w| PeerLabels::of(w, principal))
        };
        let server = route.and_then(|r| r.server.as_deref());
        let service = route.and_then(|r| r.service.as_deref());
        TcpLabels {
            reporter: self.carrier.reporter(self.connection().direction),
            source: peer(route.and_then(|r| r.source.as_deref()), source),
            destination: peer(server, destination),
            service: match (service, server) {
                (Some(service), _) => ServiceLabels::of(service),
                (None, Some(server)) => ServiceLabels::of_workload(server),
                (None, None) => ServiceLabels::unknown(),
            },
            response_flags,
            security: match self.security() {
                Security::Tls | Security::Probe => Security::Unknown,
                known => known,
            },
        }
    }

    fn principals(&self) -> (Option<&SpiffeId>, Option<&SpiffeId>) {
        match self.connection().session() {
            Some(Session::MutualTls { client, server, .. }) => (Some(client), Some(server)),
            Some(Session::Tls(_) | Session::Plaintext | Session::Probe) | None => (None, None),
        }
    }

    fn security(&self) -> Security {
        match self.connection().session() {
            Some(Session::MutualTls { .. }) => Security::MutualTls,
            Some(Session::Tls(_)) => Security::Tls,
            Some(Session::Probe) => Security::Probe,
            Some(Session::Plaintext) | None => Security::Unknown,
        }
    }
}

fn response_flags(failure: &Failure, direction: Direction) -> ResponseFlags {
    let Failure::Relay(error) = failure else {
        return ResponseFlags::None;
    };
    let local = matches!(error, RelayError::Local(_));
    match (direction, local) {
        // The client's end failed, or the server's.
        (Direction::Outbound, true) | (Direction::Inbound, false) => {
            ResponseFlags::DownstreamConnectionTermination
        }
        (Direction::Outbound, false) | (Direction::Inbound, true) => {
            ResponseFlags::UpstreamConnectionTermination
        }
    }
}

impl<C: Carrier> Meter for Report<C> {
    fn up(&self, bytes: u64) {
        match self.connection().direction {
            Direction::Outbound => self.count_received(bytes),
            Direction::Inbound => self.count_sent(bytes),
        }
    }

    fn down(&self, bytes: u64) {
        match self.connection().direction {
            Direction::Outbound => self.count_sent(bytes),
            Direction::Inbound => self.count_received(bytes),
        }
    }

    fn key_updated(&self) {
        self.carrier.metrics().key_updated();
    }
}

impl<C: Carrier> Report<C> {
    fn count_received(&self, bytes: u64) {
        self.connection().received.fetch_add(bytes, Relaxed);
        if let Some(series) = &self.series {
            series.received(bytes);
        }
    }

    fn count_sent(&self, bytes: u64) {
        self.connection().sent.fetch_add(bytes, Relaxed);
        if let Some(series) = &self.series {
            series.sent(bytes);
        }
    }
}
