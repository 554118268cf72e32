//! The head of a connection's first request of HTTP, within bounds: which host it is for. What follows it is nobody's
//! business here.

use std::net::Ipv6Addr;

/// Bytes of a head, at most.
pub(super) const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;
const MAX_HOST: usize = 255;

/// How HTTP/2 begins where nobody has agreed on it (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Host as the client writes it, its name (see [`name_of`]), and what follows it.
    Request {
        host: String,
        name: String,
        path: String,
    },
    /// HTTP/1.0 needs no host, and HTTP/2 says it where HTTP/1 doesn't look.
    Unnamed,
    Bad,
}

/// `None`: not whole yet.
pub(super) fn parse(bytes: &[u8]) -> Option<Head> {
    if PREFACE.starts_with(bytes) || bytes.starts_with(PREFACE) {
        return (bytes.len() >= PREFACE.len()).then_some(Head::Unnamed);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Some(asked(&request).unwrap_or(Head::Bad)),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => None,
        Ok(httparse::Status::Partial) | Err(_) => Some(Head::Bad),
    }
}

/// The host of the target counts before that of the header (RFC 9112, section 3.2.2), of which there must be one, but in
/// HTTP/1.0 (section 3.2). A proxy would replace the header; here the two must agree.
fn asked(request: &httparse::Request<'_, '_>) -> Option<Head> {
    // Its target is never a URI (RFC 9112, section 3.2.3), and nobody is connected here at a client's word.
    if request.method == Some("CONNECT") {
        return None;
    }
    let target = request.path?;
    let is_host = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("host");
    let mut hosts = request.headers.iter().filter(is_host);
    let host = hosts.next().map(|header| std::str::from_utf8(header.value));
    let host = host.transpose().ok()?;
    if hosts.next().is_some() || (host.is_none() && request.version != Some(0)) {
        return None;
    }
    let of_scheme = |scheme: &str| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let (host, path) = match of_scheme("http://").or_else(|| of_scheme("https://")) {
        Some(rest) => {
            let (named, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            // Both are passed on, and who takes the request may go by either.
            if let Some(host) = host
                && name_of(host)? != name_of(named)?
            {
                return None;
            }
            (Some(named), path)
        }
        None => (host, target),
    };
    let path = match path {
        "" => "/".to_owned(),
        "*" if request.method == Some("OPTIONS") => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path if path.starts_with('/') => path.to_owned(),
        _ => return None,
    };
    let Some(host) = host else {
        return Some(Head::Unnamed);
    };
    let name = name_of(host)?;
    // What goes back into a header is what a header may have.
    let printable = path.bytes().all(|b| (0x21..0x7f).contains(&b));
    printable.then(|| Head::Request {
        host: host.to_owned(),
        name,
        path,
    })
}

/// Without the port, and without the dot of an absolute name, which servers leave out as well. `None`: not a host and
/// perhaps a port (RFC 9110, section 7.2), and servers differ about what such a thing means.
fn name_of(host: &str) -> Option<String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (&host[..address.len() + 2], port)
        }
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            let name = name.strip_suffix('.').unwrap_or(name);
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            let is_label = |label: &str| !label.is_empty() && label.bytes().all(good);
            (name.split('.').all(is_label).then_some(name)?, port)
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let fits = host.len() <= MAX_HOST && (port.is_empty() || port.starts_with(':'));
    let is_port = digits.is_empty() || digits.parse::<u16>().is_ok();
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit());
    (fits && is_port && is_plain).then(|| name.to_ascii_lowercase())
}

/// An answer that says nothing else.
pub(super) fn plain(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, path: &str) -> Option<Head> {
        Some(Head::Request {
            host: host.to_owned(),
            name: name_of(host).unwrap(),
            path: path.to_owned(),
        })
    }

    #[test]
    fn heads() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"GET / HTTP/1.1\r\nHost: a.example\r\n", None),
            (
                b"GET /x?y=1 HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
                request("a.example:80", "/x?y=1"),
            ),
            (
                b"GET http://b.example?q HTTP/1.1\r\nhost: B.example.:80\r\n\r\n",
                request("b.example", "/?q"),
            ),
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", request("a", "/")),
            (
                b"GET HTTPS://b.example HTTP/1.1\r\nHost: b.example\r\n\r\n",
                request("b.example", "/"),
            ),
            (
                b"GET HTTPS://b.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
                Some(Head::Bad),
            ),
            (
                b"GET http://b.example/ HTTP/1.0\r\n\r\n",
                request("b.example", "/"),
            ),
            (b"GET / HTTP/1.0\r\n\r\n", Some(Head::Unnamed)),
            (PREFACE, Some(Head::Unnamed)),
            (&PREFACE[..20], None),
        ] {
            assert_eq!(parse(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn heads_that_are_bad() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"GET http://b.example/ HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: b.example:x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            b"\x16\x03\x01\x02",
        ] {
            assert_eq!(parse(bytes), Some(Head::Bad), "{bytes:?}");
        }
        let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
        long.resize(MAX_HEAD, b'a');
        assert_eq!(parse(&long), Some(Head::Bad));
        let more = "X: y\r\n".repeat(MAX_HEADERS);
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        assert_eq!(parse(many.as_bytes()), Some(Head::Bad));
    }

    #[test]
    fn names() {
        for (host, expected) in [
            ("A.example:80", "a.example"),
            ("a_b.example.:", "a_b.example"),
            ("[::1]:80", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("192.0.2.1:8080", "192.0.2.1"),
        ] {
            assert_eq!(name_of(host).as_deref(), Some(expected), "{host}");
        }
        // Some servers stop at the first colon, others at the last one.
        for host in [
            "",
            ".",
            ":80",
            "b.example:x",
            "b.example:80:443",
            "b.example:+80",
            "b.example:65536",
            "b.example..",
            "b..example",
            "b.example:80.",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]x:80",
            "[b.example]",
            "a b",
            "a/b",
            "a,b",
            "a@b",
            "b.example]",
            "%62",
        ] {
            assert_eq!(name_of(host), None, "{host}");
        }
    }
}
