//! Tells a client that it may not. Callers of HTTP/1.x get the answer that Istio's proxies give; everybody else sees a
//! reset, which any protocol understands.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    close::{hear_out, reset},
    inbound::Accepted,
};
use crate::{
    offload::KeyLimit,
    policy::Refusal,
    tls::{
        Established, Opener, Sealer,
        record::{CLOSE_NOTIFY, Control, MAX_PLAINTEXT, MAX_RECORD, Opened, content},
    },
};

/// For the client to say something. In protocols in which the server begins it waits in vain, and not for long.
const TO_SPEAK: Duration = Duration::from_secs(1);
/// A request line may be so long.
const MAX_LINE: usize = 8 * 1024;
/// Envoy's answer, for one request.
const ANSWER: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 19\r\ncontent-type: text/plain\r\n\
    connection: close\r\n\r\nRBAC: access denied";

/// Answers, and closes.
pub(super) async fn refuse(accepted: Accepted, refusal: Refusal) {
    let heard_out = match refusal {
        Refusal::PlaintextInStrict => false,
        Refusal::AuthorizationDenied | Refusal::AuthorizationNotAllowed => true,
    };
    let mut refused = match accepted {
        Accepted::Plaintext { stream, bytes } => Refused::plain(stream, bytes),
        Accepted::MutualTls { established, .. } => Refused::secured(established),
    };
    if heard_out && matches!(timeout(TO_SPEAK, refused.tell()).await, Ok(Ok(true))) {
        return hear_out(refused.stream).await;
    }
    reset(refused.stream);
}

/// A client that is heard out.
struct Refused {
    stream: TcpStream,
    /// `None` where the wire is plaintext, and where the record layer doesn't have the cipher.
    halves: Option<(Opener, Sealer)>,
    /// Not a whole record yet.
    input: Vec<u8>,
    /// What the client has said.
    said: Vec<u8>,
    secured: bool,
}

impl Refused {
    fn plain(stream: TcpStream, said: Vec<u8>) -> Self {
        Self {
            stream,
            halves: None,
            input: Vec::new(),
            said,
            secured: false,
        }
    }

    fn secured(established: Established) -> Self {
        let Established {
            stream, secrets, ..
        } = established;
        let opener = Opener::new(secrets.suite, &secrets.rx);
        let sealer = Sealer::new(secrets.suite, &secrets.tx, KeyLimit::DEFAULT);
        Self {
            stream,
            halves: opener.ok().zip(sealer.ok()),
            input: Vec::new(),
            said: Vec::new(),
            secured: true,
        }
    }

    /// Whether the client was one that could be told.
    async fn tell(&mut self) -> io::Result<bool> {
        loop {
            match is_http(&self.said) {
                Some(false) => return Ok(false),
                Some(true) => break,
                None => self.hear().await?,
            }
        }
        if !self.secured {
            self.stream.write_all(ANSWER).await?;
        } else if let Some((_, sealer)) = &mut self.halves {
            tell_secured(&mut self.stream, sealer, ANSWER).await?;
            return Ok(true);
        }
        self.stream.shutdown().await?;
        Ok(true)
    }

    /// Reads more of what the client says.
    async fn hear(&mut self) -> io::Result<()> {
        let into = if self.secured {
            &mut self.input
        } else {
            &mut self.said
        };
        into.reserve(MAX_PLAINTEXT);
        if self.stream.read_buf(into).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.secured { self.open() } else { Ok(()) }
    }

    fn open(&mut self) -> io::Result<()> {
        let (opener, _) = self.halves.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        let mut output = vec![0; MAX_RECORD];
        loop {
            let opened = opener
                .open(&self.input, &mut output)
                .map_err(io::Error::other)?;
            let used = match opened {
                Opened::Incomplete => return Ok(()),
                Opened::Data { record, length } => {
                    self.said.extend_from_slice(&output[..length]);
                    record
                }
                Opened::Control {
                    record,
                    control: Control::Nothing,
                } => record,
                Opened::Control { .. } => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
            self.input.drain(..used);
        }
    }
}

/// A last answer, and the end of this direction.
pub(super) async fn tell_secured(
    stream: &mut TcpStream,
    sealer: &mut Sealer,
    answer: &[u8],
) -> io::Result<()> {
    let mut records = seal(sealer, content::APPLICATION_DATA, answer)?;
    records.extend(seal(sealer, content::ALERT, &CLOSE_NOTIFY)?);
    stream.write_all(&records).await?;
    stream.shutdown().await
}

fn seal(sealer: &mut Sealer, kind: u8, message: &[u8]) -> io::Result<Vec<u8>> {
    sealer.control(kind, message).map_err(io::Error::other)
}

/// Whether these are the first bytes of a request of HTTP/1.x (RFC 9112, section 3). `None`: can't be told yet.
fn is_http(said: &[u8]) -> Option<bool> {
    let line = said.iter().position(|byte| *byte == b'\n');
    let head = &said[..line.unwrap_or(said.len())];
    let method = head.iter().position(|byte| *byte == b' ');
    let is_token = |bytes: &[u8]| {
        bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
    };
    if !is_token(&head[..method.unwrap_or(head.len())]) || method == Some(0) {
        return Some(false);
    }
    if line.is_some() {
        let head = head.strip_suffix(b"\r").unwrap_or(head);
        return Some(head.ends_with(b" HTTP/1.1") || head.ends_with(b" HTTP/1.0"));
    }
    (head.len() > MAX_LINE).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::is_http;

    #[test]
    fn requests_are_told_from_everything_else() {
        for (said, expected) in [
            (&b""[..], None),
            (b"GE", None),
            (b"GET / HTTP/1.1", None),
            (b"GET / HTTP/1.1\r\n", Some(true)),
            (b"POST /a?b HTTP/1.0\nHost: x", Some(true)),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Some(false)),
            (b"\x16\x03\x01", Some(false)),
            (b" GET / HTTP/1.1\r\n", Some(false)),
            (b"EHLO me\r\n", Some(false)),
            (b"*1\r\n$4\r\nPING\r\n", Some(false)),
            (b"\n", Some(false)),
        ] {
            assert_eq!(is_http(said), expected, "{said:?}");
        }
        assert_eq!(is_http(&[b'a'; 9000]), Some(false));
    }
}
