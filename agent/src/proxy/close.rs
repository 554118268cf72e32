//! How a connection is ended when it can't go on.

use std::{io, net::Shutdown, time::Duration};

use socket2::SockRef;
use tokio::net::TcpStream;

/// Closes with a reset, discarding what was not sent.
pub(super) fn reset(stream: TcpStream) {
    // Without it close would end in an orderly FIN.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
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
