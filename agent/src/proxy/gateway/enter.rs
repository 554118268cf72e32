//! A client at the gateway: what it speaks, which server it is for, and the end of its TLS.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::Instant};

use super::{
    Entrance, Gateway,
    enforce::{Admission, Shown},
    forward::{Asked, Way},
    inside::{self, Heard},
    redirect,
};
use crate::{
    policy::{Family, ServerTls, Work},
    proxy::{
        accept::Arrival,
        close::reset,
        connections::{Agreed, Connection, Phase, Route, Session},
        dial,
        limits::Turn,
        outcome::{Failure, handshake_timeout},
        protect::{Peer, protected},
        relay::{Relay, Wire},
        report::Report,
        serving::{Open, Serving},
        shake::shake,
    },
    telemetry::{Direction, RefusalReason, Side, Transport},
    tls::{self, Declined, FirstBytes, Greeting},
    workload::Endpoint,
};

/// What is in force may change as often while a client's way is dialled.
const CHANGES: usize = 8;

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
    let client = Client {
        gateway: &gateway,
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
    pub(super) connection: &'a Connection,
    pub(super) port: u16,
}

/// One that is in.
pub(super) struct Entered {
    wire: Wire,
    asked: Asked,
    way: Way,
    /// By which it has come.
    entrance: Arc<Entrance>,
    shown: Option<Arc<Shown>>,
}

impl Client<'_> {
    /// `turn` is held until it is known who the client is. `None`: it has its answer.
    async fn take(&self, stream: TcpStream, turn: Turn) -> Result<Option<Relay>, Failure> {
        let entered = self.enter(stream).await?;
        drop(turn);
        match entered {
            Some(entered) => self.forward(entered).await.map(Some),
            None => Ok(None),
        }
    }

    /// As it is now: what a client has said is looked at with what is in force once it has said it.
    pub(super) fn entrance(&self) -> Result<Arc<Entrance>, Failure> {
        let entrance = self.gateway.entrance.load_full();
        entrance.ok_or(Failure::Refused(RefusalReason::NoPolicy))
    }

    pub(super) fn asked(&self, name: Option<&str>) -> Asked {
        Asked {
            port: self.port,
            name: name.map(Into::into),
            address: self.connection.destination.ip(),
        }
    }

    /// Who is refused has been closed as it must be.
    async fn enter(&self, stream: TcpStream) -> Result<Option<Entered>, Failure> {
        match self.family() {
            Ok((Family::Tls, _)) => self.secure(stream).await.map(Some),
            Ok((Family::Http, true)) => redirect::answer(self, stream).await,
            Ok((Family::Tcp | Family::Http, _)) => self.clear(stream).map(Some),
            Err(failure) => {
                reset(stream);
                Err(failure)
            }
        }
    }

    /// What is spoken on the port, and whether its clients must be asked for a host.
    fn family(&self) -> Result<(Family, bool), Failure> {
        let entrance = self.entrance()?;
        let gateways = entrance.snapshot.policy.routes().gateways();
        let family = gateways
            .ports(&entrance.own.labels)
            .get(&self.port)
            .copied();
        // Closed meanwhile.
        let family = family.ok_or(Failure::Refused(RefusalReason::NoPolicy))?;
        let asked = self.asked(None);
        let depends = gateways.depends_on_host(self.port, asked.caller(&entrance));
        Ok((family, depends))
    }

    /// What is not TLS of this gateway's goes on as it is.
    fn clear(&self, stream: TcpStream) -> Result<Entered, Failure> {
        let asked = self.asked(None);
        let way = self.way(&asked).and_then(|(entrance, way)| {
            // The port may be for TLS meanwhile.
            let is_clear = matches!(way.work, Work::Http | Work::Tcp);
            let refused = Failure::Refused(RefusalReason::NoRoute);
            is_clear.then_some((entrance, way)).ok_or(refused)
        });
        match way {
            Ok((entrance, way)) => Ok(self.as_it_is(stream, Vec::new(), asked, way, entrance)),
            Err(failure) => {
                reset(stream);
                Err(failure)
            }
        }
    }

    fn way(&self, asked: &Asked) -> Result<(Arc<Entrance>, Way), Failure> {
        let entrance = self.entrance()?;
        let way = entrance.way(asked)?;
        let way = way.ok_or(Failure::Refused(RefusalReason::NoRoute))?;
        Ok((entrance, way))
    }

    /// `received` has been read already.
    pub(super) fn as_it_is(
        &self,
        stream: TcpStream,
        received: Vec<u8>,
        asked: Asked,
        way: Way,
        entrance: Arc<Entrance>,
    ) -> Entered {
        self.connection.set_session(Session::Plaintext);
        self.connection.set_transport(Transport::Copy);
        Entered {
            wire: Wire::plain(stream, received),
            asked,
            way,
            entrance,
            shown: None,
        }
    }

    async fn secure(&self, mut stream: TcpStream) -> Result<Entered, Failure> {
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
        let asked = self.asked(server_name.as_deref());
        let (entrance, way) = match self.way(&asked) {
            Ok(found) => found,
            Err(failure) => {
                if failure.refusal() == Some(RefusalReason::NoRoute) {
                    tls::decline(&mut stream, Declined::Name).await;
                }
                reset(stream);
                return Err(failure);
            }
        };
        let Work::Terminate(tls) = &way.work else {
            return Ok(self.as_it_is(stream, bytes, asked, way, entrance));
        };
        let left = within.saturating_sub(begun.elapsed());
        let ended = self.terminate(stream, &entrance, (&asked, tls), bytes, left);
        let (wire, shown) = ended.await?;
        Ok(Entered {
            wire,
            asked,
            way,
            entrance,
            shown: Some(Arc::new(shown)),
        })
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
            Greeting::Plaintext if tls::is_outdated(&first.bytes) => {
                tls::decline(stream, Declined::Version).await;
                Err(broken("TLS from before 1.2".to_owned()))
            }
            Greeting::Plaintext => Err(broken("not TLS".to_owned())),
        }
    }

    async fn terminate(
        &self,
        stream: TcpStream,
        entrance: &Entrance,
        (asked, tls): (&Asked, &Arc<ServerTls>),
        received: Vec<u8>,
        within: Duration,
    ) -> Result<(Wire, Shown), Failure> {
        let Some(termination) = entrance.terminations.get(tls) else {
            reset(stream);
            let text = tls.credential.to_string();
            return Err(Failure::RefusedBecause(RefusalReason::NoCertificate, text));
        };
        let prepared = self.gateway.offload.prepare(&stream);
        self.connection.enter(Phase::Handshaking);
        let shaking = tls::terminate(stream, Arc::clone(&termination.config), received);
        let mut established = shake(&self.gateway.metrics, Side::Server, within, shaking).await?;
        let suite = established.secrets.suite;
        let agreed = Agreed {
            version: suite.version().version,
            suite: suite.suite(),
            // What a client has shown is looked at as a whole.
            certificates: None,
        };
        let session = Session::Tls(Box::new(agreed.clone()));
        self.connection.set_session(session);
        let chain = established.peer.take();
        let Heard {
            established,
            said,
            host,
        } = inside::hear(self, established, asked, tls).await?;
        let (gateway, connection) = (self.gateway, self.connection);
        let wire = protected(gateway, connection, prepared, Peer::Foreign, established)?;
        let shown = Shown {
            agreed,
            chain,
            host,
        };
        Ok((wire.after(said), shown))
    }

    /// Dials and begins to relay.
    async fn forward(&self, entered: Entered) -> Result<Relay, Failure> {
        self.connection.enter(Phase::Connecting);
        let Entered {
            wire,
            asked,
            way,
            entrance,
            shown,
        } = entered;
        match self.reach(asked, way, entrance, shown).await {
            Ok(local) => Ok(Relay::new(local, wire)?),
            Err(failure) => {
                wire.reset();
                Err(failure)
            }
        }
    }

    /// A socket to where the client is to go by what is in force when it is connected.
    async fn reach(
        &self,
        asked: Asked,
        mut way: Way,
        mut entrance: Arc<Entrance>,
        shown: Option<Arc<Shown>>,
    ) -> Result<TcpStream, Failure> {
        let mut reached = None;
        for _ in 0..CHANGES {
            let (endpoint, stream) = match reached.take() {
                Some(reached) => reached,
                None => self.dial(&way, &entrance).await?,
            };
            let admission = Admission::new(&asked, &way, shown.as_ref(), endpoint, &entrance);
            let admission = Arc::new(admission);
            let admissions = &self.gateway.admissions;
            admissions.note(self.connection.id, Arc::clone(&admission));
            let current = self.entrance()?;
            if Arc::ptr_eq(&current, &entrance) {
                self.set_route(&way, endpoint, &entrance);
                return Ok(stream);
            }
            let again = current.way(&asked)?;
            let again = again.ok_or(Failure::Refused(RefusalReason::NoRoute))?;
            current.trusts(&again, &admission)?;
            let stays = current.allows(&admission, &again);
            reached = stays.then_some((endpoint, stream));
            (way, entrance) = (again, current);
        }
        let text = "where it goes has changed again and again".to_owned();
        Err(Failure::RefusedBecause(RefusalReason::NoRoute, text))
    }

    async fn dial(&self, way: &Way, entrance: &Entrance) -> Result<(Endpoint, TcpStream), Failure> {
        let within = self.gateway.timeouts.connect;
        let dialled = dial::first(&way.candidates, within, dial::own).await;
        // Also of those that nobody was reached for.
        if let (Err(_), Some(endpoint)) = (&dialled, way.candidates.first()) {
            self.set_route(way, *endpoint, entrance);
        }
        dialled
    }

    fn set_route(&self, way: &Way, endpoint: Endpoint, entrance: &Entrance) {
        let snapshot = &entrance.snapshot;
        self.connection.set_route(Route {
            source: snapshot.workload_at(self.connection.client.ip()).cloned(),
            server: snapshot.workload_at(endpoint.address).cloned(),
            port: endpoint.port,
            service: way.service.clone(),
            mode: entrance.mode(endpoint),
        });
    }
}

fn broken(text: String) -> Failure {
    Failure::RefusedBecause(RefusalReason::HandshakeFailed, text)
}
