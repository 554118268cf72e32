//! How a connection is ended when it can't go on.

use std::{io, net::Shutdown, time::Duration};

use socket2::SockRef;
use tokio::net::TcpStream;

/// From now on the socket ends in a reset however it is closed, also by the kernel when the agent is killed:
/// an application must not take a crash for the end of its data.
pub(super) fn arm_reset(stream: &TcpStream) {
    // On a connected socket it can't fail.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Takes [`arm_reset`] back: both directions have ended in order.
pub(super) fn disarm_reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(None);
}

/// Closes with a reset, discarding what was not sent.
pub(super) fn reset(stream: TcpStream) {
    arm_reset(&stream);
    drop(stream);
}

/// Sends a FIN; the other direction stays open.
pub(super) fn half_close(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(Shutdown::Write) {
        // The peer has reset meanwhile: the next read says so.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
