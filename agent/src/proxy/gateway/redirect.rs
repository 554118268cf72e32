//! HTTP in clear, where the host makes a difference: the head of a connection's first request is read, within bounds, and
//! the connection goes where its host leads. With `httpsRedirect` it is answered with the same place in HTTPS.

use std::sync::Arc;

use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use super::{
    Entrance,
    enter::{Client, Entered},
    first::{first_head, refused},
    forward::{Asked, Way},
    head::{Head, plain},
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

/// Answers, or lets the connection go on when the host's server says so.
pub(super) async fn answer(
    client: &Client<'_>,
    mut stream: TcpStream,
) -> Result<Option<Entered>, Failure> {
    let within = client.gateway.timeouts.handshake;
    let mut bytes = Vec::new();
    let head = match first_head(&mut stream, &mut bytes, within).await {
        Ok(head) => head,
        Err(failure) => {
            reset(stream);
            return Err(failure);
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
        // RFC 9112, sections 2.2 and 3.2: whoever comes behind might read it in another way.
        Head::Bad => {
            let failure = refused("no request of HTTP that can be understood");
            return Err((plain("400 Bad Request"), Some(failure)));
        }
        Head::Unnamed => None,
        Head::Request { name, .. } => Some(name.as_str()),
    };
    let asked = client.asked(name);
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
        (Ok((_, None)), Head::Request { host, path, .. }) => Err((moved(host, path), None)),
        (Ok((_, None)), _) => Err((plain("400 Bad Request"), None)),
        (Err(failure), head) => {
            let status = match (failure.refusal(), head) {
                (Some(RefusalReason::NoRoute), Head::Unnamed) => "400 Bad Request",
                (Some(RefusalReason::NoRoute), _) => "404 Not Found",
                _ => "503 Service Unavailable",
            };
            Err((plain(status), Some(failure)))
        }
    }
}

/// The port of HTTP is not that of HTTPS; one that is written out stays (Envoy: `https_redirect`).
fn moved(host: &str, path: &str) -> String {
    let host = host.strip_suffix(":80").unwrap_or(host);
    format!(
        "HTTP/1.1 301 Moved Permanently\r\nlocation: https://{host}{path}\r\ncontent-length: 0\r\nconnection: \
         close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        proxy::{
            connections::Registered,
            gateway::{
                Gateway,
                head::parse,
                testing::{GATEWAY, entrance, gateway, route},
            },
        },
        telemetry::Direction,
    };

    const WANTED: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

    fn registered(gateway: &Gateway) -> Registered {
        let addresses = ["10.0.0.1:1", "10.0.0.9:80"].map(|a| a.parse().unwrap());
        let [from, to] = addresses;
        gateway.connections.open(Direction::Inbound, from, to)
    }

    fn client<'a>(gateway: &'a Gateway, registered: &'a Registered) -> Client<'a> {
        Client {
            gateway,
            connection: &registered.connection,
            port: 80,
        }
    }

    /// First line of the answer; `None`: the connection goes on.
    fn decided(client: &Client<'_>, head: &[u8]) -> Option<String> {
        let (text, _) = decide(client, &parse(head).unwrap()).err()?;
        let (status, _) = text.split_once("\r\n").unwrap();
        Some(status.trim_start_matches("HTTP/1.1 ").to_owned())
    }

    #[test]
    fn a_port_that_changes_while_a_head_is_read_lets_nobody_in_in_clear() {
        let routes = [
            route("a", "*", "http: [{", "web"),
            route(
                "b",
                "a.example",
                "tls: [{match: [{sniHosts: [a.example]}], ",
                "web",
            ),
            route("c", "*", "tcp: [{", "web"),
        ];
        let with = |from: &str, to: &str| {
            let gateway = GATEWAY.replace(from, to);
            entrance(&[&gateway, &routes[0], &routes[1], &routes[2]])
        };
        let gateway = gateway(with("", ""));
        let registered = registered(&gateway);
        let client = client(&gateway, &registered);
        assert_eq!(decided(&client, WANTED), None);
        let clear = r#"protocol: HTTP}, hosts: ["*"]}"#;
        let secured = |protocol: &str, mode: &str| {
            format!(r#"protocol: {protocol}}}, hosts: ["*"], tls: {{{mode}}}}}"#)
        };
        for (to, expected) in [
            (secured("HTTPS", "mode: SIMPLE, credentialName: c"), "503"),
            (secured("TLS", "mode: PASSTHROUGH"), "503"),
            (r#"protocol: TCP}, hosts: ["*"]}"#.to_owned(), "503"),
            (secured("HTTP", "httpsRedirect: true"), "301"),
            (
                r#"protocol: HTTP}, hosts: ["b.example"]}"#.to_owned(),
                "404",
            ),
        ] {
            let next = Arc::new(with(clear, &to));
            gateway.enter_by(Some(&next), Instant::now());
            let status = decided(&client, WANTED).unwrap();
            assert!(status.starts_with(expected), "{to}: {status}");
        }
        gateway.enter_by(None, Instant::now());
        assert!(decided(&client, WANTED).unwrap().starts_with("503"));
    }

    #[test]
    fn heads_that_are_bad_go_nowhere_also_where_there_is_one_place_only() {
        let gateway = gateway(entrance(&[GATEWAY, &route("a", "*", "http: [{", "web")]));
        let registered = registered(&gateway);
        let client = client(&gateway, &registered);
        let two = b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n";
        assert!(decided(&client, two).unwrap().starts_with("400"));
        assert_eq!(decided(&client, b"GET / HTTP/1.0\r\n\r\n"), None);
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
            if let Some(Head::Request { host, path, .. }) = parse(&bytes) {
                let answer = moved(&host, &path);
                assert_eq!(answer.matches("\r\n").count(), 5, "{answer:?}");
                assert!(answer.is_ascii());
            }
        }
    }

    #[test]
    fn places() {
        assert!(moved("a.example:80", "/b").contains("location: https://a.example/b\r\n"));
        assert!(moved("a.example:81", "/").contains("https://a.example:81/"));
    }
}
