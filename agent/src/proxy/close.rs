//! How a connection is ended when it can't go on.

use std::{io, net::Shutdown, time::Duration};

use socket2::SockRef;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

/// From now on the socket ends in a reset however it is closed, also by the kernel when the agent is killed:
/// an application must not take a crash for the end of its data.
///
/// # Errors
/// As setsockopt(2): the socket would end in order.
pub(super) fn arm_reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Takes [`arm_reset`] back: both directions have ended in order.
///
/// # Errors
/// As setsockopt(2): what has not been sent when the socket is closed would be lost.
pub(super) fn disarm_reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(None)
}

/// Closes with a reset, discarding what was not sent.
pub(super) fn reset(stream: TcpStream) {
    if arm_reset(&stream).is_err() {
        // Disconnecting aborts as well (RFC 9293, section 3.10.5), without an option.
        let _ = rustix::net::connect_unspec(&stream);
    }
    drop(stream);
}

/// For a client to read its answer.
const TO_READ: Duration = Duration::from_secs(5);

/// Closes after the last answer, which has been sent with its end: what the client still sends must be read, or closing
/// would reset it before it has read the answer.
pub(super) async fn hear_out(mut stream: TcpStream) {
    let mut sink = vec![0; 16 * 1024];
    let reading = async { while matches!(stream.read(&mut sink).await, Ok(1..)) {} };
    let _ = timeout(TO_READ, reading).await;
    let _ = disarm_reset(&stream);
}

/// Sends a FIN; the other direction stays open.
pub(super) fn half_close(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(Shutdown::Write) {
        // The peer has reset meanwhile: the next read says so.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
