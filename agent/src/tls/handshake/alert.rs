//! What a peer is told when there is no connection for it.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// For the peer to read it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a client is turned away before a handshake.
#[derive(Clone, Copy, Debug)]
pub enum Declined {
    /// Nobody here has the name that it asks for (RFC 6066, section 3).
    Name,
    /// It speaks TLS from before 1.2 (RFC 8446, section 4.1.3).
    Version,
}

/// Tells a client why, in a record of its own (RFC 8446, section 6), and ends the stream.
pub async fn decline(stream: &mut TcpStream, why: Declined) {
    let description = match why {
        Declined::Name => 112,
        Declined::Version => 70,
    };
    farewell(stream, &[21, 3, 1, 0, 2, 2, description]).await;
}

/// Sends an alert, and waits for the peer to have a chance to read it: closing a socket with unread data resets it,
/// and a reset discards what the peer has not read yet (RFC 1122, section 4.2.2.13).
pub(super) async fn farewell(stream: &mut TcpStream, alert: &[u8]) {
    let farewell = async {
        stream.write_all(alert).await?;
        stream.shutdown().await?;
        let mut sink = [0; 1024];
        for _ in 0..64 {
            if stream.read(&mut sink).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    if !alert.is_empty() {
        let _ = timeout(PATIENCE, farewell).await;
    }
}
