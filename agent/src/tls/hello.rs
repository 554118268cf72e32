//! What a client's first bytes are: TLS or not, and whether the TLS is the mesh's.

use std::{io, time::Duration};

use rustls::server::Acceptor;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::config::MESH_ALPN;

/// Records that one may come in: nobody needs more, and each is looked at again with the next.
const MOST_RECORDS: usize = 32;

/// A ClientHello is at most this long; with post-quantum key shares it has about 1,800 bytes.
const MAX_HELLO: usize = 32 * 1024;

/// The first bytes of a connection, and what they look like. The bytes have been read from the socket.
#[derive(Debug)]
pub struct FirstBytes {
    pub greeting: Greeting,
    /// That the client asks for, in a ClientHello that was read to its end.
    pub server_name: Option<Box<str>>,
    pub bytes: Vec<u8>,
}

/// Kinds of openings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A TLS ClientHello that offers the mesh's protocol (`istio`, `istio-…`).
    MeshTls,
    /// Another ClientHello, or the beginning of one when `whole` was not asked for.
    OtherTls,
    /// Something else.
    Plaintext,
    /// Nothing (or no more) within the time given.
    Silent,
    /// The client closed without a word.
    Closed,
}

/// Reads until it is clear how the client opens. With `whole`, a ClientHello is read to its end, which is
/// needed to tell the mesh's from others; without, its first bytes are enough. `patience` is for a client
/// that is silent.
///
/// # Errors
/// The socket's.
pub async fn first_bytes(
    stream: &mut TcpStream,
    whole: bool,
    patience: Duration,
) -> io::Result<FirstBytes> {
    let mut bytes = Vec::new();
    let heard = match timeout(patience, read_greeting(stream, whole, &mut bytes)).await {
        Ok(heard) => heard?,
        Err(_elapsed) => Greeting::Silent.into(),
    };
    let Heard {
        greeting,
        server_name,
    } = heard;
    Ok(FirstBytes {
        greeting,
        server_name,
        bytes,
    })
}

/// What the first bytes tell.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    greeting: Greeting,
    server_name: Option<Box<str>>,
}

impl From<Greeting> for Heard {
    fn from(greeting: Greeting) -> Self {
        Self {
            greeting,
            server_name: None,
        }
    }
}

async fn read_greeting(
    stream: &mut TcpStream,
    whole: bool,
    bytes: &mut Vec<u8>,
) -> io::Result<Heard> {
    let mut seen = None;
    loop {
        // Nothing new can be told before another record is whole.
        let records = (whole && (6..=MAX_HELLO).contains(&bytes.len())).then(|| records(bytes));
        if (records.is_none() || records != seen)
            && let Some(heard) = classify(bytes, whole)
        {
            return Ok(heard);
        }
        seen = records;
        bytes.reserve(2048);
        if stream.read_buf(bytes).await? == 0 {
            let nothing = bytes.is_empty();
            return Ok(if nothing {
                Greeting::Closed.into()
            } else {
                Greeting::Plaintext.into()
            });
        }
    }
}

/// `None`: can't be told yet.
fn classify(bytes: &[u8], whole: bool) -> Option<Heard> {
    // RFC 8446, sections 5.1 and 4: handshake record, legacy version 3.x, (length,) client_hello.
    let opening: [fn(u8) -> bool; 6] = [
        |b| b == 22,
        |b| b == 3,
        |b| b <= 4,
        |_| true,
        |_| true,
        |b| b == 1,
    ];
    if bytes.iter().zip(opening).any(|(byte, fits)| !fits(*byte)) {
        return Some(Greeting::Plaintext.into());
    }
    if bytes.len() < opening.len() {
        return None;
    }
    if !whole {
        return Some(Greeting::OtherTls.into());
    }
    parse(bytes)
}

/// Whether it is the ClientHello of a client that speaks no newer TLS than 1.1, by the version that a hello has behind its
/// length (RFC 5246, section 7.4.1.2).
#[must_use]
pub fn is_outdated(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, _, _, _, 1, _, _, _, 3, 0..=2, ..])
}

/// How many are whole.
fn records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((header, rest)) = bytes.split_first_chunk::<5>() {
        let length = u16::from_be_bytes([header[3], header[4]]);
        let Some((_, rest)) = rest.split_at_checked(length.into()) else {
            break;
        };
        count += 1;
        bytes = rest;
    }
    count
}

fn parse(bytes: &[u8]) -> Option<Heard> {
    if records(bytes) > MOST_RECORDS {
        return Some(Greeting::Plaintext.into());
    }
    let mut acceptor = Acceptor::default();
    let mut unread = bytes;
    while !unread.is_empty() {
        if acceptor.read_tls(&mut unread).is_err() {
            return Some(Greeting::Plaintext.into());
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let mesh = hello
                    .alpn()
                    .is_some_and(|mut offers| offers.any(|offer| offer.starts_with(MESH_ALPN)));
                return Some(Heard {
                    greeting: if mesh {
                        Greeting::MeshTls
                    } else {
                        Greeting::OtherTls
                    },
                    server_name: hello.server_name().map(Into::into),
                });
            }
            Ok(None) => {}
            Err(_) => return Some(Greeting::Plaintext.into()),
        }
    }
    (bytes.len() > MAX_HELLO).then(|| Greeting::Plaintext.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_told_apart_as_soon_as_possible() {
        let classify = |bytes, whole| classify(bytes, whole).map(|heard| heard.greeting);
        assert_eq!(classify(b"", true), None);
        assert_eq!(classify(b"G", true), Some(Greeting::Plaintext));
        assert_eq!(classify(&[22], true), None);
        assert_eq!(classify(&[22, 3, 1, 0, 200], true), None);
        assert_eq!(
            classify(&[22, 3, 1, 0, 200, 1], false),
            Some(Greeting::OtherTls)
        );
        assert_eq!(
            classify(&[22, 3, 1, 0, 200, 2], true),
            Some(Greeting::Plaintext)
        );
        assert_eq!(classify(&[22, 2], true), Some(Greeting::Plaintext));
    }

    #[test]
    fn old_clients_are_known_by_their_version() {
        let hello = |minor| [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, minor, 0];
        assert!(
            [0, 1, 2]
                .into_iter()
                .all(|minor| is_outdated(&hello(minor)))
        );
        assert!(!is_outdated(&hello(3)));
        assert!(!is_outdated(b"GET / HTTP/1.1"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut bytes = vec![22, 3, 1, 0, random.u8(..), 1];
            bytes.extend((0..random.usize(..300)).map(|_| random.u8(..)));
            let _ = classify(&bytes, true);
        }
    }
}
