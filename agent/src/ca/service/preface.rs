//! Connections on which somebody speaks HTTP/2, and proves soon who it is. Neither has a deadline in the HTTP server, for
//! which whoever answers its pings is there.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose preface has come, and is there to be read again.
pub(super) struct Prefaced<S> {
    stream: S,
    unread: &'static [u8],
    proven: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> Prefaced<S> {
    /// Waits for the preface, for how long is the caller's affair. Afterwards reading ends with an error when nothing has
    /// been `proven` within some time.
    ///
    /// # Errors
    /// When something else comes, or nothing any more.
    pub(super) async fn read(
        mut stream: S,
        proven: Arc<AtomicBool>,
        within: Duration,
    ) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        stream.read_exact(&mut first).await?;
        if first != PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"));
        }
        Ok(Self {
            stream,
            unread: PREFACE,
            proven,
            deadline: Some(Box::pin(sleep(within))),
        })
    }
}

impl<S> Prefaced<S> {
    /// Whether the time for a proof is over, and there is none.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let passed = |deadline: &mut Pin<Box<Sleep>>| deadline.as_mut().poll(cx).is_ready();
        // Once it has passed the connection is somebody's.
        self.deadline.take_if(passed).is_some() && !self.proven.load(Ordering::Relaxed)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefaced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_overdue(cx) {
            let why = "nobody has proven who it is";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
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
    use tokio::{io::AsyncWriteExt as _, time::timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_proves_nothing_is_not_listened_to_for_ever() {
        for is_proven in [false, true] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(PREFACE).await.unwrap();
            let (proven, within) = (Arc::<AtomicBool>::default(), Duration::from_millis(20));
            let read = Prefaced::read(server, Arc::clone(&proven), within).await;
            let mut prefaced = read.unwrap();
            prefaced.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
            proven.store(is_proven, Ordering::Relaxed);
            let later = timeout(20 * within, prefaced.read_u8()).await;
            let ended = later.ok().map(|read| read.unwrap_err().kind());
            let expected = (!is_proven).then_some(io::ErrorKind::TimedOut);
            assert_eq!(ended, expected);
        }
    }

    #[tokio::test]
    async fn it_is_waited_for_and_read_again() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reading = std::pin::pin!(Prefaced::read(server, Arc::default(), LONG));
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
            assert!(Prefaced::read(server, Arc::default(), LONG).await.is_err());
        }
    }
}
