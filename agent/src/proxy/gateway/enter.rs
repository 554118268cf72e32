//! A client at the gateway: what it speaks, which server it is for, and the end of its TLS.

use std::{sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{net::TcpStream, time::Instant};

use super::{Entrance, Gateway, forward::Way, redirect};
use crate::{
    policy::{Caller, Family, Served, ServerTls, Work},
    proxy::{
        accept::Arrival,
        close::reset,
        connections::{Agreed, Connection, Phase, Session},
        limits::Turn,
        outcome::{Failure, handshake_timeout},
        protect::{Peer, protected},
        relay::{Relay, Wire},
        report::Report,
        serving::{Open, Serving},
        shake::shake,
    },
    telemetry::{Direction, RefusalReason, Side, Transport},
    tls::{self, FirstBytes, Greeting},
};

/// One connection, to its end. `port` is the one that the client knows.
pub(super) fn serve(gateway: Arc<Gateway>, port: u16, arrival: Arrival) -> Serving<Gateway> {
    Serving::new(set_up(gateway, port, arrival))
}

async fn set_up(gateway: Arc<Gateway>, port: u16, arrival: Arrival) -> Option<Open<Gateway>> {
    let Arrival {
        stream,
        peer,
        local,
    } = arrival;
    let direction = Direction::Inbound;
    let Some(turn) = gateway.pending.enter(peer.ip()) else {
        let metrics = &gateway.metrics;
        metrics.connection_refused(direction, RefusalReason::Limit);
        reset(stream);
        return None;
    };
    let registered = gateway.connections.open(direction, peer, local);
    let report = Report::new(Arc::clone(&gateway), registered);
    let Some(entrance) = gateway.entrance.load_full() else {
        reset(stream);
        report.finish(&Err(Failure::Refused(RefusalReason::NoPolicy)));
        return None;
    };
    let client = Client {
        gateway: &gateway,
        entrance: &entrance,
        connection: report.connection(),
        port,
    };
    match client.take(stream, turn).await {
        Ok(Some(relay)) => Some(Open::new(report, relay, None)),
        Ok(None) => {
            report.finish(&Ok(()));
            None
        }
        Err(failure) => {
            report.finish(&Err(failure));
            None
        }
    }
}

/// A client that is being let in.
pub(super) struct Client<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) entrance: &'a Entrance,
    pub(super) connection: &'a Connection,
    pub(super) port: u16,
}

impl Client<'_> {
    /// `turn` is held until it is known who the client is. `None`: it has its answer.
    async fn take(&self, stream: TcpStream, turn: Turn) -> Result<Option<Relay>, Failure> {
        let entered = self.enter(stream).await?;
        drop(turn);
        match entered {
            Some((wire, way)) => self.forward(wire, way).await.map(Some),
            None => Ok(None),
        }
    }

    /// Who is refused has been closed as it must be.
    async fn enter(&self, stream: TcpStream) -> Result<Option<(Wire, Way)>, Failure> {
        let Entrance { snapshot, own, .. } = self.entrance;
        let gateways = snapshot.policy.routes().gateways();
        match gateways.ports(&own.labels).get(&self.port) {
            // Closed meanwhile.
            None => {
                reset(stream);
                Err(Failure::Refused(RefusalReason::NoPolicy))
            }
            Some(Family::Tls) => self.secure(stream).await.map(Some),
            Some(Family::Tcp) => self.clear(stream, Vec::new()).map(Some),
            Some(Family::Http) if self.redirects() => redirect::answer(self, stream).await,
            Some(Family::Http) => self.clear(stream, Vec::new()).map(Some),
        }
    }

    /// Whether some server of the port sends clients elsewhere.
    fn redirects(&self) -> bool {
        let gateways = self.entrance.snapshot.policy.routes().gateways();
        let mut servers = gateways.of(&self.entrance.own.labels);
        servers.any(|s| s.server.port == self.port && s.server.work == Work::Redirect)
    }

    /// The server for a name.
    pub(super) fn server(&self, name: Option<&str>) -> Option<Served<'_>> {
        let Entrance { snapshot, own, .. } = self.entrance;
        let gateways = snapshot.policy.routes().gateways();
        gateways.server(&own.labels, self.port, name)
    }

    /// What is not TLS of this gateway's goes on as it is. `received` has been read already.
    pub(super) fn clear(
        &self,
        stream: TcpStream,
        received: Vec<u8>,
    ) -> Result<(Wire, Way), Failure> {
        let served = self.server(None).ok_or_else(|| self.nobody(None));
        match served.and_then(|served| self.way(served, None)) {
            Ok(way) => Ok((self.as_it_is(stream, received), way)),
            Err(failure) => {
                reset(stream);
                Err(failure)
            }
        }
    }

    fn as_it_is(&self, stream: TcpStream, received: Vec<u8>) -> Wire {
        self.connection.set_session(Session::Plaintext);
        self.connection.set_transport(Transport::Copy);
        Wire::plain(stream, received)
    }

    async fn secure(&self, mut stream: TcpStream) -> Result<(Wire, Way), Failure> {
        let within = self.gateway.timeouts.handshake;
        let begun = Instant::now();
        let FirstBytes {
            server_name, bytes, ..
        } = match self.hello(&mut stream).await {
            Ok(hello) => hello,
            Err(failure) => {
                reset(stream);
                return Err(failure);
            }
        };
        let name = server_name.as_deref();
        let served = self.server(name).ok_or_else(|| self.nobody(name));
        let way = served.and_then(|served| Ok((served, self.way(served, name)?)));
        match way {
            Ok((served, way)) => match &served.server.work {
                Work::Terminate(tls) => {
                    let left = within.saturating_sub(begun.elapsed());
                    let wire = self.terminate(stream, tls, bytes, left).await?;
                    Ok((wire, way))
                }
                _ => Ok((self.as_it_is(stream, bytes), way)),
            },
            Err(failure) => {
                if failure.refusal() == Some(RefusalReason::NoRoute) {
                    tls::decline(&mut stream).await;
                }
                reset(stream);
                Err(failure)
            }
        }
    }

    /// A whole ClientHello.
    async fn hello(&self, stream: &mut TcpStream) -> Result<FirstBytes, Failure> {
        let within = self.gateway.timeouts.handshake;
        let first = tls::first_bytes(stream, true, within).await;
        let first = first.map_err(|error| broken(error.to_string()))?;
        match first.greeting {
            Greeting::MeshTls | Greeting::OtherTls => Ok(first),
            Greeting::Closed => Err(Failure::Abandoned),
            Greeting::Silent => Err(handshake_timeout(&self.gateway.metrics, Side::Server)),
            Greeting::Plaintext => Err(broken("not TLS".to_owned())),
        }
    }

    async fn terminate(
        &self,
        stream: TcpStream,
        tls: &Arc<ServerTls>,
        received: Vec<u8>,
        within: Duration,
    ) -> Result<Wire, Failure> {
        let Some(config) = self.config(tls) else {
            reset(stream);
            let text = tls.credential.to_string();
            return Err(Failure::RefusedBecause(RefusalReason::NoCertificate, text));
        };
        let prepared = self.gateway.offload.prepare(&stream);
        self.connection.enter(Phase::Handshaking);
        let shaking = tls::terminate(stream, config, received);
        let established = shake(&self.gateway.metrics, Side::Server, within, shaking).await?;
        let suite = established.secrets.suite;
        let agreed = Box::new(Agreed {
            version: suite.version().version,
            suite: suite.suite(),
        });
        self.connection.set_session(Session::Tls(agreed));
        protected(
            self.gateway,
            self.connection,
            prepared,
            Peer::Foreign,
            established,
        )
    }

    /// As it is now: certificates may have changed since the client came.
    fn config(&self, tls: &Arc<ServerTls>) -> Option<Arc<ServerConfig>> {
        let entrance = self.gateway.entrance.load();
        entrance.as_ref()?.configs.get(tls).cloned()
    }

    fn way(&self, served: Served<'_>, name: Option<&str>) -> Result<Way, Failure> {
        let Entrance { snapshot, own, .. } = self.entrance;
        let caller = Caller {
            gateway: own,
            name,
            address: self.connection.destination.ip(),
        };
        let routed = snapshot.policy.routes().gateways().route(served, caller);
        let routed =
            routed.map_err(|e| Failure::RefusedBecause(RefusalReason::NoRoute, e.to_string()))?;
        self.resolved(routed)
    }

    fn nobody(&self, name: Option<&str>) -> Failure {
        let text = match name {
            Some(name) => format!("no Gateway is for {name}:{}", self.port),
            None => format!("no Gateway is for port {} without a name", self.port),
        };
        Failure::RefusedBecause(RefusalReason::NoRoute, text)
    }

    /// Dials and begins to relay.
    async fn forward(&self, wire: Wire, way: Way) -> Result<Relay, Failure> {
        self.connection.enter(Phase::Connecting);
        match self.dial(&way).await {
            Ok(local) => Ok(Relay::new(local, wire)?),
            Err(failure) => {
                wire.reset();
                Err(failure)
            }
        }
    }
}

fn broken(text: String) -> Failure {
    Failure::RefusedBecause(RefusalReason::HandshakeFailed, text)
}
