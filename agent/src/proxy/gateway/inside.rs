//! HTTP inside of TLS that ends here. Where servers of a port want different things of their clients, the first request must
//! be for a host of those that want what its connection has shown (RFC 9110, section 15.5.20). Requests behind the first
//! are not looked at.

use std::io;

use tokio::time::timeout;

use super::{
    Entrance,
    enter::Client,
    forward::Asked,
    head::{Head, name_of, parse, plain},
};
use crate::{
    offload::KeyLimit,
    policy::ServerTls,
    proxy::{
        close::{hear_out, reset},
        outcome::Failure,
        refuse::tell_secured,
    },
    telemetry::RefusalReason,
    tls::{Established, Sealer},
};

/// A connection whose first request may be for any host, or is for one that it may be for.
pub(super) struct Heard<P> {
    pub(super) established: Established<P>,
    /// What the client has said so far.
    pub(super) said: Vec<u8>,
    pub(super) host: Option<Box<str>>,
}

impl Entrance {
    /// Whether a request for a host may come by the TLS that has ended for what a client asked for.
    pub(super) fn admits(&self, asked: &Asked, host: &str, tls: &ServerTls) -> bool {
        let gateways = self.snapshot.policy.routes().gateways();
        let inside = Asked {
            name: Some(host.into()),
            ..asked.clone()
        };
        gateways.admits(asked.port, tls, inside.caller(self))
    }

    pub(super) fn differ(&self, asked: &Asked, tls: &ServerTls) -> bool {
        let gateways = self.snapshot.policy.routes().gateways();
        tls.http && gateways.differ(asked.port, asked.caller(self))
    }
}

/// Reads the first request where it makes a difference; whoever is wrong here has its answer, and is closed.
pub(super) async fn hear<P>(
    client: &Client<'_>,
    mut established: Established<P>,
    asked: &Asked,
    tls: &ServerTls,
) -> Result<Heard<P>, Failure> {
    match client.entrance() {
        Ok(entrance) if entrance.differ(asked, tls) => {}
        Ok(_) => {
            return Ok(Heard {
                established,
                said: Vec::new(),
                host: None,
            });
        }
        Err(failure) => {
            reset(established.stream);
            return Err(failure);
        }
    }
    let mut said = Vec::new();
    let within = client.gateway.timeouts.handshake;
    let head = match timeout(within, read(&mut established, &mut said)).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => {
            reset(established.stream);
            return Err(refused(error.to_string()));
        }
        Err(_elapsed) => {
            reset(established.stream);
            return Err(refused("no request in time".to_owned()));
        }
    };
    let (status, why) = match judge(client, &head, asked, tls) {
        Ok(host) => {
            return Ok(Heard {
                established,
                said,
                host: Some(host.into()),
            });
        }
        Err(answer) => answer,
    };
    if matches!(
        timeout(within, tell(&mut established, &plain(status))).await,
        Ok(Ok(()))
    ) {
        hear_out(established.stream).await;
    } else {
        reset(established.stream);
    }
    Err(refused(why))
}

/// By what is in force now that it has been said: the host, or the answer and why.
fn judge(
    client: &Client<'_>,
    head: &Head,
    asked: &Asked,
    tls: &ServerTls,
) -> Result<String, (&'static str, String)> {
    let Head::Request { host, .. } = head else {
        let why = "no request of HTTP/1 that says its host".to_owned();
        return Err(("400 Bad Request", why));
    };
    let host = name_of(host);
    let entrance = client.entrance();
    if entrance.is_ok_and(|entrance| entrance.admits(asked, &host, tls)) {
        return Ok(host);
    }
    let name = asked.name.as_deref().unwrap_or("no name");
    let why = format!("a request for {host} inside of TLS for {name}");
    Err(("421 Misdirected Request", why))
}

async fn read<P>(established: &mut Established<P>, said: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        if let Some(head) = parse(said) {
            return Ok(head);
        }
        established.hear(said).await?;
    }
}

async fn tell<P>(established: &mut Established<P>, answer: &str) -> io::Result<()> {
    let Established {
        stream, secrets, ..
    } = established;
    let sealer = Sealer::new(secrets.suite, &secrets.tx, KeyLimit::DEFAULT);
    let mut sealer = sealer.map_err(io::Error::other)?;
    tell_secured(stream, &mut sealer, answer.as_bytes()).await
}

fn refused(text: String) -> Failure {
    Failure::RefusedBecause(RefusalReason::NoRoute, text)
}
