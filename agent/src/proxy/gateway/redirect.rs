//! HTTP in clear, where the host makes a difference: the head of a connection's first request is read, within bounds, and
//! the connection goes where its host leads. With `httpsRedirect` it is answered with the same place in HTTPS.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    Entrance,
    enter::{Client, Entered},
    forward::{Asked, Way},
};
use crate::{
    policy::Work,
    proxy::{
        close::{hear_out, reset},
        connections::Session,
        outcome::Failure,
    },
    telemetry::{RefusalReason, Transport},
};

/// Bytes of a head, at most.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
const MAX_HOST: usize = 255;

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// Host as the client writes it, and what follows it.
    Request {
        host: String,
        path: String,
    },
    Bad,
}

/// Answers, or lets the connection go on when the host's server says so.
pub(super) async fn answer(
    client: &Client<'_>,
    mut stream: TcpStream,
) -> Result<Option<Entered>, Failure> {
    let within = client.gateway.timeouts.handshake;
    let mut bytes = Vec::new();
    let head = match timeout(within, read(&mut stream, &mut bytes)).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => {
            reset(stream);
            if bytes.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof {
                return Err(Failure::Abandoned);
            }
            return Err(refused(&error.to_string()));
        }
        Err(_elapsed) => {
            reset(stream);
            return Err(refused("no request in time"));
        }
    };
    let (text, refusal) = match decide(client, &head) {
        Ok((asked, way, entrance)) => {
            return Ok(Some(client.as_it_is(stream, bytes, asked, way, entrance)));
        }
        Err(answer) => answer,
    };
    client.connection.set_session(Session::Plaintext);
    client.connection.set_transport(Transport::Copy);
    let told = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    if !matches!(timeout(within, told).await, Ok(Ok(()))) {
        reset(stream);
        return Err(refused("the client doesn't take its answer"));
    }
    hear_out(stream).await;
    refusal.map_or(Ok(None), Err)
}

type Found = (Asked, Way, Arc<Entrance>);

/// Where the connection goes on; else the answer, and what it is refused for.
fn decide(client: &Client<'_>, head: &Head) -> Result<Found, (String, Option<Failure>)> {
    let name = match head {
        Head::Bad => None,
        Head::Request { host, .. } => Some(name_of(host)),
    };
    let asked = client.asked(name.as_deref());
    let found = client.entrance().and_then(|entrance| {
        let way = entrance.way(&asked)?;
        Ok((entrance, way))
    });
    match (found, head) {
        (Ok((entrance, Some(way))), _) if way.work == Work::Http => Ok((asked, way, entrance)),
        // The port is for something else meanwhile.
        (Ok((_, Some(_))), _) => {
            let failure = Failure::Refused(RefusalReason::NoRoute);
            Err((plain("503 Service Unavailable"), Some(failure)))
        }
        (Ok((_, None)), Head::Request { host, path }) => Err((moved(host, path), None)),
        (Ok((_, None)), Head::Bad) => Err((plain("400 Bad Request"), None)),
        (Err(failure), Head::Bad) => Err((plain("400 Bad Request"), Some(failure))),
        (Err(failure), _) => {
            let status = match failure.refusal() {
                Some(RefusalReason::NoRoute) => "404 Not Found",
                _ => "503 Service Unavailable",
            };
            Err((plain(status), Some(failure)))
        }
    }
}

fn refused(text: &str) -> Failure {
    Failure::RefusedBecause(RefusalReason::NoRoute, text.to_owned())
}

async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        if let Some(head) = parse(bytes) {
            return Ok(head);
        }
        bytes.reserve(2048);
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// `None`: not whole yet.
fn parse(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Some(asked(&request).unwrap_or(Head::Bad)),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => None,
        Ok(httparse::Status::Partial) | Err(_) => Some(Head::Bad),
    }
}

/// The host of the target counts before that of the header (RFC 9112, section 3.2.2), of which there must be one.
fn asked(request: &httparse::Request<'_, '_>) -> Option<Head> {
    let target = request.path?;
    let is_host = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("host");
    let mut hosts = request.headers.iter().filter(is_host);
    let host = std::str::from_utf8(hosts.next()?.value).ok()?;
    if hosts.next().is_some() {
        return None;
    }
    let (host, path) = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let rest = &target[7..];
            rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
        }
        _ => (host, target),
    };
    let path = match path {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path if path.starts_with('/') => path.to_owned(),
        _ => return None,
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let fits = !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(good);
    // What goes back into a header is what a header may have.
    let printable = path.bytes().all(|b| (0x21..0x7f).contains(&b));
    (fits && printable).then(|| Head::Request {
        host: host.to_owned(),
        path,
    })
}

/// Without the port.
fn name_of(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.to_ascii_lowercase()
}

/// The port of HTTP is not that of HTTPS; one that is written out stays (Envoy: `https_redirect`).
fn moved(host: &str, path: &str) -> String {
    let host = host.strip_suffix(":80").unwrap_or(host);
    format!(
        "HTTP/1.1 301 Moved Permanently\r\nlocation: https://{host}{path}\r\ncontent-length: 0\r\nconnection: \
         close\r\n\r\n"
    )
}

fn plain(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let request = |host: &str, path: &str| Head::Request {
            host: host.to_owned(),
            path: path.to_owned(),
        };
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: a.example\r\n"[..], None),
            (
                b"GET /x?y=1 HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
                Some(request("a.example:80", "/x?y=1")),
            ),
            (
                b"GET http://b.example?q HTTP/1.1\r\nhost: a.example\r\n\r\n",
                Some(request("b.example", "/?q")),
            ),
            (b"GET / HTTP/1.0\r\n\r\n", Some(Head::Bad)),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                Some(Head::Bad),
            ),
            (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Some(Head::Bad)),
            (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Some(Head::Bad)),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Some(Head::Bad)),
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Some(Head::Bad)),
            (b"\x16\x03\x01\x02", Some(Head::Bad)),
        ] {
            assert_eq!(parse(bytes), expected, "{bytes:?}");
        }
        let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
        long.resize(MAX_HEAD, b'a');
        assert_eq!(parse(&long), Some(Head::Bad));
    }

    #[test]
    fn no_bytes_break_the_answer() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let mut bytes = b"GET /".to_vec();
            bytes.extend((0..random.usize(..30)).map(|_| random.u8(..)));
            bytes.extend(b" HTTP/1.1\r\nHost: ");
            bytes.extend((0..random.usize(..10)).map(|_| random.u8(..)));
            bytes.extend(b"\r\n\r\n");
            if let Some(Head::Request { host, path }) = parse(&bytes) {
                let answer = moved(&host, &path);
                assert_eq!(answer.matches("\r\n").count(), 5, "{answer:?}");
                assert!(answer.is_ascii());
            }
        }
    }

    #[test]
    fn places() {
        assert_eq!(name_of("A.example:80"), "a.example");
        assert_eq!(name_of("[::1]:80"), "[::1]");
        assert!(moved("a.example:80", "/b").contains("location: https://a.example/b\r\n"));
        assert!(moved("a.example:81", "/").contains("https://a.example:81/"));
    }
}
