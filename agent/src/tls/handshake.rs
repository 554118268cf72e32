//! Drives rustls' handshake over a socket, one record at a time, and takes the keys out when it is done.
//!
//! Records that follow the handshake are not even read: they are left in the socket for the record layer, or
//! for the kernel, with the sequence numbers untouched.

use std::sync::Arc;

use rustls::{
    ClientConfig, ExtractedSecrets, ProtocolVersion, ServerConfig, SupportedCipherSuite,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::{CertificateDer, ServerName},
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    anchors::CertificateId,
    heard::{Ear, Heard},
    keys::Secrets,
    record::{HEADER, MAX_RECORD},
    shown::ClientChain,
    verify::verified_id,
};
use crate::identity::SpiffeId;

mod alert;
mod failure;

use alert::farewell;
pub use alert::{Declined, decline};
pub use failure::HandshakeError;
pub(super) use failure::reason;

/// Handshake messages that are not whole yet, at most: certificate chains are long, but not that long.
const MAX_HANDSHAKE: usize = 128 * 1024;

/// A connection after its handshake; `P` is who the peer has proved to be.
#[derive(Debug)]
pub struct Established<P = SpiffeId> {
    pub stream: TcpStream,
    pub secrets: Secrets,
    pub peer: P,
    /// What the peer has proved it with.
    pub certificates: Vec<CertificateId>,
    /// The name that the client asked the server for.
    pub server_name: Option<Box<str>>,
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
    of_mesh(establish(stream, connection, Vec::new(), verified_id).await?)
}

/// The client's part of a handshake with a server that is not of the mesh: its configuration says whom to trust.
///
/// # Errors
/// As [`connect`].
pub async fn originate(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Established<()>, HandshakeError> {
    let connection = UnbufferedClientConnection::new(config, name).map_err(HandshakeError::from)?;
    establish(stream, connection, Vec::new(), |_| ()).await
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
    of_mesh(establish(stream, connection, received, verified_id).await?)
}

/// The server's part of a handshake with a client that is not of the mesh: the configuration says whom to trust.
///
/// # Errors
/// As [`connect`].
pub async fn terminate(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    received: Vec<u8>,
) -> Result<Established<Option<ClientChain>>, HandshakeError> {
    let connection = UnbufferedServerConnection::new(config).map_err(HandshakeError::from)?;
    establish(stream, connection, received, ClientChain::shown).await
}

fn of_mesh(established: Established<Option<SpiffeId>>) -> Result<Established, HandshakeError> {
    let peer = established.peer.clone().ok_or(HandshakeError::NoPeer)?;
    Ok(established.with(peer))
}

impl<P> Established<P> {
    fn with<Q>(self, peer: Q) -> Established<Q> {
        Established {
            stream: self.stream,
            secrets: self.secrets,
            peer,
            certificates: self.certificates,
            server_name: self.server_name,
        }
    }
}

/// What the two kinds of rustls connections have in common.
trait Side: Sized {
    type Data;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn common(&self) -> &rustls::CommonState;
    /// The secrets of the first keys, and the suite.
    fn extract(self) -> Result<(ExtractedSecrets, SupportedCipherSuite), rustls::Error>;
    const IS_CLIENT: bool;
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
    fn extract(self) -> Result<(ExtractedSecrets, SupportedCipherSuite), rustls::Error> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, connection.negotiated_cipher_suite()))
    }
    const IS_CLIENT: bool = true;
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
    fn extract(self) -> Result<(ExtractedSecrets, SupportedCipherSuite), rustls::Error> {
        let (secrets, connection) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, connection.negotiated_cipher_suite()))
    }
    const IS_CLIENT: bool = false;
}

/// What was received and how much of it rustls may see: it gets whole records, one more whenever it is blocked,
/// so that it never touches what comes behind the handshake. A message in fragments stays in the buffer until
/// it is whole.
struct Incoming {
    bytes: Vec<u8>,
    seen: usize,
}

/// `peer` is what is to be known of who has shown a chain that is good; it is empty where none was.
async fn establish<S: Side, P>(
    mut stream: TcpStream,
    mut side: S,
    received: Vec<u8>,
    peer: impl FnOnce(&[CertificateDer<'_>]) -> P,
) -> Result<Established<P>, HandshakeError> {
    let mut incoming = Incoming {
        bytes: received,
        seen: 0,
    };
    let mut ear = Ear::new();
    if let Err(error) = drive(&mut stream, &mut side, &mut incoming, &mut ear).await {
        if error.is_protocol() {
            send_alert(&mut stream, &mut side, &mut incoming).await;
        }
        return Err(error);
    }
    let common = side.common();
    let chain = common.peer_certificates().unwrap_or_default();
    let (peer, certificates) = (peer(chain), CertificateId::of_chain(chain));
    let (secrets, suite) = side.extract()?;
    let Heard {
        secrets: traffic,
        server_name,
    } = ear.heard();
    Ok(Established {
        stream,
        secrets: Secrets::new(secrets, suite, traffic, S::IS_CLIENT)?,
        peer,
        certificates,
        server_name,
    })
}

async fn drive<S: Side>(
    stream: &mut TcpStream,
    side: &mut S,
    incoming: &mut Incoming,
    ear: &mut Ear,
) -> Result<(), HandshakeError> {
    let mut outgoing = Vec::new();
    loop {
        let UnbufferedStatus { discard, state, .. } =
            ear.during(|| side.process(incoming.visible()));
        let next = match state {
            Ok(state) => step(state, &mut outgoing),
            Err(error) => Err(error.into()),
        };
        incoming.discard(discard);
        match next? {
            Next::Again => {}
            Next::Transmit => {
                stream.write_all(&outgoing).await?;
                outgoing = Vec::new();
            }
            // A message that has been begun and is not whole would be lost. Nothing can come before our flight
            // that belongs behind the peer's last one.
            Next::Check if !side.common().is_handshaking() => {
                return if incoming.bytes.is_empty() {
                    Ok(())
                } else {
                    Err(HandshakeError::EarlyData)
                };
            }
            Next::Check | Next::Read => incoming.show_next_record(stream).await?,
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

fn step<Data>(
    state: ConnectionState<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
) -> Result<Next, HandshakeError> {
    match state {
        ConnectionState::EncodeTlsData(data) => {
            encode(data, outgoing)?;
            Ok(Next::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Next::Transmit)
        }
        ConnectionState::BlockedHandshake => Ok(Next::Read),
        ConnectionState::WriteTraffic(_) => Ok(Next::Check),
        ConnectionState::PeerClosed | ConnectionState::Closed => Err(HandshakeError::Closed),
        // Application data inside the handshake: early data is never accepted.
        _ => Err(HandshakeError::EarlyData),
    }
}

impl Incoming {
    fn visible(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.seen]
    }

    fn discard(&mut self, length: usize) {
        let length = length.min(self.seen);
        self.bytes.drain(..length);
        self.seen -= length;
    }

    /// Reads until another record is whole, and not a byte more: what follows the handshake stays in the socket,
    /// where the kernel can open it. Lets rustls see the record; an impossible length is shown as it is, for
    /// rustls to refuse.
    async fn show_next_record(&mut self, stream: &mut TcpStream) -> Result<(), HandshakeError> {
        if self.seen > MAX_HANDSHAKE {
            return Err(HandshakeError::TooLong);
        }
        loop {
            let unseen = &self.bytes[self.seen..];
            let needed = match unseen {
                [_, _, _, high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    if length > MAX_RECORD || unseen.len() >= HEADER + length {
                        self.seen += unseen.len().min(HEADER + length);
                        return Ok(());
                    }
                    HEADER + length
                }
                _ => HEADER,
            };
            let missing = needed - unseen.len();
            self.bytes.reserve(missing);
            let mut limited = AsyncReadExt::take(&mut *stream, missing as u64);
            if limited.read_buf(&mut self.bytes).await? == 0 {
                return Err(HandshakeError::Closed);
            }
        }
    }
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

/// Sends the alert that rustls has queued, behind what it stands behind.
async fn send_alert<S: Side>(stream: &mut TcpStream, side: &mut S, incoming: &mut Incoming) {
    let mut outgoing = Vec::new();
    // It would look at the input again after that. Which must be what it was, rustls still refers to it.
    while side.common().wants_write() {
        let Ok(ConnectionState::EncodeTlsData(data)) = side.process(incoming.visible()).state
        else {
            return;
        };
        if encode(data, &mut outgoing).is_err() {
            return;
        }
    }
    if side.common().protocol_version() == Some(ProtocolVersion::TLSv1_2) {
        translate_alert(&mut outgoing);
    }
    farewell(stream, &outgoing).await;
}

/// `certificate_required` exists since TLS 1.3 only; older clients know `handshake_failure` (RFC 5246, section
/// 7.4.6; RFC 8446, section 6.2). rustls sends the new one to both.
fn translate_alert(record: &mut [u8]) {
    const HANDSHAKE_FAILURE: u8 = 40;
    const CERTIFICATE_REQUIRED: u8 = 116;
    if let [.., 21, _, _, 0, 2, _, description] = record
        && *description == CERTIFICATE_REQUIRED
    {
        *description = HANDSHAKE_FAILURE;
    }
}

#[cfg(test)]
mod tests;
