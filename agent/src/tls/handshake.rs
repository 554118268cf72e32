//! Drives rustls' handshake over a socket, one record at a time, and takes the keys out when it is done.
//!
//! Records that follow the handshake are never given to rustls: they are left for the record layer, or for
//! the kernel, with the sequence numbers untouched.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, ProtocolVersion, ServerConfig, SupportedCipherSuite,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    keys::{KeyError, Keys},
    record::{HEADER, MAX_RECORD},
    verify::verified_id,
};
use crate::identity::SpiffeId;

mod failure;

pub use failure::HandshakeError;

/// A connection that both ends have proved their identity on.
#[derive(Debug)]
pub struct Established {
    pub stream: TcpStream,
    pub keys: Keys,
    /// Ciphertext that arrived behind the handshake.
    pub leftover: Vec<u8>,
    pub peer: SpiffeId,
    pub version: ProtocolVersion,
    pub suite: SupportedCipherSuite,
}

/// The client's part of a handshake.
///
/// # Errors
/// The socket's, or whatever is wrong with the peer; an alert has been sent where the protocol has one.
pub async fn connect(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Established, HandshakeError> {
    let connection = UnbufferedClientConnection::new(config, name).map_err(HandshakeError::from)?;
    establish(stream, connection, Vec::new()).await
}

/// The server's part of a handshake. `received` is what was read from the socket already.
///
/// # Errors
/// As [`connect`].
pub async fn accept(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    received: Vec<u8>,
) -> Result<Established, HandshakeError> {
    let connection = UnbufferedServerConnection::new(config).map_err(HandshakeError::from)?;
    establish(stream, connection, received).await
}

/// What the two kinds of rustls connections have in common.
trait Side: Sized {
    type Data;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn common(&self) -> &rustls::CommonState;
    fn into_keys(self) -> Result<Keys, KeyError>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
    fn common(&self) -> &rustls::CommonState {
        self
    }
    fn into_keys(self) -> Result<Keys, KeyError> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Keys::client(&secrets, connection)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
    fn common(&self) -> &rustls::CommonState {
        self
    }
    fn into_keys(self) -> Result<Keys, KeyError> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Keys::server(&secrets, connection)
    }
}

async fn establish<S: Side>(
    mut stream: TcpStream,
    mut side: S,
    mut incoming: Vec<u8>,
) -> Result<Established, HandshakeError> {
    let result = drive(&mut stream, &mut side, &mut incoming).await;
    if let Err(error) = result {
        if error.is_protocol() {
            send_alert(&mut stream, &mut side).await;
        }
        return Err(error);
    }
    let common = side.common();
    let peer = verified_id(common.peer_certificates()).ok_or(HandshakeError::NoPeer)?;
    let version = common.protocol_version().ok_or(HandshakeError::NoPeer)?;
    let suite = common
        .negotiated_cipher_suite()
        .ok_or(HandshakeError::NoPeer)?;
    Ok(Established {
        stream,
        keys: side.into_keys()?,
        leftover: incoming,
        peer,
        version,
        suite,
    })
}

async fn drive<S: Side>(
    stream: &mut TcpStream,
    side: &mut S,
    incoming: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    let mut outgoing = Vec::new();
    loop {
        let end = first_record(incoming);
        let UnbufferedStatus { discard, state, .. } = side.process(&mut incoming[..end]);
        let next = match state? {
            ConnectionState::EncodeTlsData(data) => {
                encode(data, &mut outgoing)?;
                Next::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Next::Transmit
            }
            ConnectionState::BlockedHandshake => Next::Read,
            ConnectionState::WriteTraffic(_) => Next::Check,
            ConnectionState::PeerClosed | ConnectionState::Closed => {
                return Err(HandshakeError::Closed);
            }
            // Application data inside the handshake: early data is never accepted.
            _ => return Err(HandshakeError::EarlyData),
        };
        incoming.drain(..discard);
        match next {
            Next::Again => {}
            Next::Transmit => {
                stream.write_all(&outgoing).await?;
                outgoing = Vec::new();
            }
            Next::Check if !side.common().is_handshaking() => return Ok(()),
            Next::Check | Next::Read => read_record(stream, incoming).await?,
        }
    }
}

/// What to do once rustls' borrow of the buffer has ended.
enum Next {
    Again,
    Transmit,
    Check,
    Read,
}

/// Length of the first record, or of everything while it isn't complete. An impossible length is left for
/// rustls to refuse.
fn first_record(incoming: &[u8]) -> usize {
    match incoming {
        [_, _, _, high, low, ..] => {
            let length = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
            length.min(incoming.len())
        }
        _ => incoming.len(),
    }
}

fn is_complete(incoming: &[u8]) -> bool {
    match incoming {
        [_, _, _, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            length > MAX_RECORD || rest.len() >= length
        }
        _ => false,
    }
}

/// Reads until the buffer starts with a whole record; at once when it does already.
async fn read_record(stream: &mut TcpStream, incoming: &mut Vec<u8>) -> Result<(), HandshakeError> {
    while !is_complete(incoming) {
        incoming.reserve(2048);
        if stream.read_buf(incoming).await? == 0 {
            return Err(HandshakeError::Closed);
        }
    }
    Ok(())
}

fn encode<Data>(
    mut data: EncodeTlsData<'_, Data>,
    outgoing: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    let start = outgoing.len();
    outgoing.resize(start + 512, 0);
    loop {
        match data.encode(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => {
                outgoing.resize(start + size.required_size, 0);
            }
            Err(EncodeError::AlreadyEncoded) => return Err(HandshakeError::NoPeer),
        }
    }
}

/// Sends the alert that rustls has queued, and waits for the peer to have a chance to read it: closing a
/// socket with unread data resets it, and a reset discards what the peer has not read yet (RFC 1122,
/// section 4.2.2.13).
async fn send_alert<S: Side>(stream: &mut TcpStream, side: &mut S) {
    let mut outgoing = Vec::new();
    while let UnbufferedStatus {
        state: Ok(ConnectionState::EncodeTlsData(data)),
        ..
    } = side.process(&mut [])
    {
        if encode(data, &mut outgoing).is_err() {
            break;
        }
    }
    if side.common().protocol_version() == Some(ProtocolVersion::TLSv1_2) {
        translate_alert(&mut outgoing);
    }
    let farewell = async {
        stream.write_all(&outgoing).await?;
        stream.shutdown().await?;
        let mut sink = [0; 1024];
        for _ in 0..64 {
            if stream.read(&mut sink).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    if !outgoing.is_empty() {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), farewell).await;
    }
}

/// `certificate_required` exists since TLS 1.3 only; older clients know `handshake_failure` (RFC 5246, section
/// 7.4.6; RFC 8446, section 6.2). rustls sends the new one to both.
fn translate_alert(record: &mut [u8]) {
    const HANDSHAKE_FAILURE: u8 = 40;
    const CERTIFICATE_REQUIRED: u8 = 116;
    if let [21, _, _, 0, 2, _, description] = record
        && *description == CERTIFICATE_REQUIRED
    {
        *description = HANDSHAKE_FAILURE;
    }
}
