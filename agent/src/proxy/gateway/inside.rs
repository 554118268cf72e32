//! HTTP inside of TLS that ends here. Where servers of a port want different things of their clients, the first request must
//! be for a host of those that want what its connection has shown (RFC 9110, section 15.5.20). Requests behind the first
//! are not looked at.

use std::io;

use tokio::time::timeout;

use super::{
    Entrance,
    enter::Client,
    first::{first_head, refused},
    forward::Asked,
    head::{Head, plain},
};
use crate::{
    offload::KeyLimit,
    policy::ServerTls,
    proxy::{
        close::{hear_out, reset},
        outcome::Failure,
        refuse::tell_secured,
    },
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
    let head = match established.hear() {
        Ok(mut hearing) => first_head(&mut hearing, &mut said, within).await,
        Err(error) => Err(refused(error.to_string())),
    };
    let head = match head {
        Ok(head) => head,
        Err(failure) => {
            reset(established.stream);
            return Err(failure);
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
    let Head::Request { name: host, .. } = head else {
        let why = "no request of HTTP/1 that says its host".to_owned();
        return Err(("400 Bad Request", why));
    };
    let entrance = client.entrance();
    if entrance.is_ok_and(|entrance| entrance.admits(asked, host, tls)) {
        return Ok(host.clone());
    }
    let name = asked.name.as_deref().unwrap_or("no name");
    let why = format!("a request for {host} inside of TLS for {name}");
    Err(("421 Misdirected Request", why))
}

async fn tell<P>(established: &mut Established<P>, answer: &str) -> io::Result<()> {
    let Established {
        stream, secrets, ..
    } = established;
    let sealer = Sealer::new(secrets.suite, &secrets.tx, KeyLimit::DEFAULT);
    let mut sealer = sealer.map_err(io::Error::other)?;
    tell_secured(stream, &mut sealer, answer.as_bytes()).await
}
