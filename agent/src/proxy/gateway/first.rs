//! The first request of a connection, by whatever way it comes, within a time and bounds.

use std::{io, time::Duration};

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::head::{Head, MAX_HEAD, parse};
use crate::{proxy::outcome::Failure, telemetry::RefusalReason, tls::Hearing};

/// What a client says, as it comes.
pub(super) trait Words: Send {
    /// Adds more of it; nothing when the client has ended.
    fn more(&mut self, said: &mut Vec<u8>) -> impl Future<Output = io::Result<()>> + Send;
}

impl Words for TcpStream {
    async fn more(&mut self, said: &mut Vec<u8>) -> io::Result<()> {
        said.reserve(2048);
        self.read_buf(said).await.map(drop)
    }
}

impl Words for Hearing<'_> {
    async fn more(&mut self, said: &mut Vec<u8>) -> io::Result<()> {
        self.next(said).await
    }
}

/// Reads until the head is whole; `said` has it then, and perhaps more.
pub(super) async fn first_head(
    words: &mut impl Words,
    said: &mut Vec<u8>,
    within: Duration,
) -> Result<Head, Failure> {
    match timeout(within, read(words, said)).await {
        Ok(Ok(Some(head))) => Ok(head),
        // Load balancers ask in this way whether somebody is there, and browsers connect before they need it.
        Ok(Ok(None)) if said.is_empty() => Err(Failure::Abandoned),
        Ok(Ok(None)) => Err(refused("it ended within the head of its request")),
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(_elapsed) => Err(refused("no request in time")),
    }
}

async fn read(words: &mut impl Words, said: &mut Vec<u8>) -> io::Result<Option<Head>> {
    loop {
        let known = said.len();
        words.more(said).await?;
        let new = &said[known..];
        if new.is_empty() {
            return Ok(None);
        }
        // All of it is read each time, and nothing is new before a line has ended.
        let is_time = known == 0 || new.contains(&b'\n') || said.len() >= MAX_HEAD;
        if let Some(head) = is_time.then(|| parse(said)).flatten() {
            return Ok(Some(head));
        }
    }
}

/// For want of a request that leads anywhere.
pub(super) fn refused(text: impl Into<String>) -> Failure {
    Failure::RefusedBecause(RefusalReason::NoRoute, text.into())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Pieces, then an end or silence.
    struct Pieces {
        left: VecDeque<Vec<u8>>,
        ends: bool,
    }

    impl Words for Pieces {
        async fn more(&mut self, said: &mut Vec<u8>) -> io::Result<()> {
            match self.left.pop_front() {
                Some(piece) => said.extend(piece),
                None if self.ends => {}
                None => std::future::pending().await,
            }
            Ok(())
        }
    }

    async fn head(bytes: &[u8], size: usize, ends: bool) -> Result<Head, Failure> {
        let left = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        let mut pieces = Pieces { left, ends };
        // Nothing of what comes is late.
        let within = Duration::from_millis(if ends { 60_000 } else { 100 });
        first_head(&mut pieces, &mut Vec::new(), within).await
    }

    #[tokio::test]
    async fn pieces_of_any_size() {
        let request = b"\r\nGET /x HTTP/1.1\r\nHost: a.example\r\n\r\nbody";
        for size in [1, 2, 7, 1000] {
            let Ok(Head::Request { name, path, .. }) = head(request, size, true).await else {
                panic!("{size}");
            };
            assert_eq!((name.as_str(), path.as_str()), ("a.example", "/x"));
            let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; MAX_HEAD]].concat();
            assert!(matches!(head(&long, size, true).await, Ok(Head::Bad)));
        }
        // TLS where there is none has no lines.
        let hello = b"\x16\x03\x01\x02\x00\x01";
        assert!(matches!(head(hello, 100, true).await, Ok(Head::Bad)));
    }

    #[tokio::test]
    async fn ends_and_silence() {
        assert!(matches!(head(b"", 1, true).await, Err(Failure::Abandoned)));
        for (bytes, ends, expected) in [
            (&b"GET / HTTP/1.1\r\nHo"[..], true, "ended"),
            (b"GET / HTTP/1.1\r\nHo", false, "in time"),
            (b"", false, "in time"),
        ] {
            let Err(Failure::RefusedBecause(RefusalReason::NoRoute, text)) =
                head(bytes, 3, ends).await
            else {
                panic!("{bytes:?}");
            };
            assert!(text.contains(expected), "{text}");
        }
    }
}
