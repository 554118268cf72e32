//! What rustls tells in passing during a handshake, and nowhere afterwards.

use std::{cell::RefCell, fmt, sync::Arc};

use rustls::{
    KeyLog,
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::schedule::TrafficSecrets;

/// What a handshake has come to so far.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) secrets: Box<TrafficSecrets>,
    /// The name that the client asked for (RFC 6066, section 3).
    pub(super) server_name: Option<Box<str>>,
}

/// Hears one handshake.
pub(super) struct Ear(Option<Heard>);

thread_local! {
    /// Whose handshake rustls is at: `None` outside of [`Ear::during`].
    static LISTENING: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

impl Ear {
    pub(super) fn new() -> Self {
        Self(Some(Heard::default()))
    }

    /// Does a step of a handshake whose configuration has [`Listener`], and hears what it tells. Must not be nested.
    pub(super) fn during<R>(&mut self, step: impl FnOnce() -> R) -> R {
        LISTENING.with_borrow_mut(|listening| std::mem::swap(&mut self.0, listening));
        let result = step();
        LISTENING.with_borrow_mut(|listening| std::mem::swap(&mut self.0, listening));
        result
    }

    pub(super) fn heard(self) -> Heard {
        self.0.unwrap_or_default()
    }
}

fn note(of: impl FnOnce(&mut Heard)) {
    LISTENING.with_borrow_mut(|listening| {
        if let Some(heard) = listening {
            of(heard);
        }
    });
}

/// Gives the traffic secrets to whoever is at [`Ear::during`], and to nobody else.
pub(super) struct Listener;

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Listener {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        note(|heard| match label {
            CLIENT => heard.secrets.learn_client(secret),
            SERVER => heard.secrets.learn_server(secret),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}

/// The same certificate for every name, which is noted.
#[derive(Debug)]
pub(super) struct AnyName(pub(super) Arc<SingleCertAndKey>);

impl ResolvesServerCert for AnyName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        note(|heard| heard.server_name = hello.server_name().map(Into::into));
        self.0.resolve(hello)
    }
}
