//! Connections on which somebody speaks HTTP/2: before its preface nothing has a deadline in the HTTP server.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose preface has come, and is there to be read again.
pub(super) struct Prefaced<S> {
    stream: S,
    unread: &'static [u8],
}

impl<S: AsyncRead + Unpin> Prefaced<S> {
    /// Waits for the preface, for how long is the caller's affair.
    ///
    /// # Errors
    /// When something else comes, or nothing any more.
    pub(super) async fn read(mut stream: S) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        stream.read_exact(&mut first).await?;
        if first != PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"));
        }
        Ok(Self {
            stream,
            unread: PREFACE,
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefaced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let (now, later) = self.unread.split_at(self.unread.len().min(buf.remaining()));
        buf.put_slice(now);
        self.unread = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefaced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncWriteExt as _, time::timeout};

    use super::*;

    #[tokio::test]
    async fn it_is_waited_for_and_read_again() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reading = std::pin::pin!(Prefaced::read(server));
        client.write_all(&PREFACE[..20]).await.unwrap();
        let early = timeout(Duration::from_millis(20), reading.as_mut()).await;
        assert!(early.is_err(), "not all of it has come");
        client.write_all(&PREFACE[20..]).await.unwrap();
        let mut prefaced = reading.await.unwrap();
        client.write_all(b"more").await.unwrap();
        drop(client);
        // A little at a time, too.
        let mut first = [0; 5];
        prefaced.read_exact(&mut first).await.unwrap();
        let mut rest = Vec::new();
        prefaced.read_to_end(&mut rest).await.unwrap();
        assert_eq!([&first[..], &rest].concat(), [PREFACE, b"more"].concat());
    }

    #[tokio::test]
    async fn nothing_else_is_taken_for_it() {
        for other in [&b"GET / HTTP/1.1\r\nHost: ca.example\r\n\r\n"[..], b"PRI"] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(other).await.unwrap();
            drop(client);
            assert!(Prefaced::read(server).await.is_err());
        }
    }
}
