//! TLS as a foreigner speaks it, over a pod's sockets: a client that takes any server, and a server.
//!
//! Judges nobody's certificate: what the peer showed is for the test to look at.

use std::{io::Write, net::TcpStream, sync::Arc};

use anyhow::{Context, Result, bail};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, NamedGroup,
    ServerConfig, ServerConnection, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature,
    },
    server::{
        Acceptor,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::pki::Leaf;

/// The ALPN protocol of mesh peers in Istio.
pub const ISTIO: &[u8] = b"istio";

pub type ClientStream = StreamOwned<ClientConnection, TcpStream>;
pub type ServerStream = StreamOwned<ServerConnection, TcpStream>;

/// Shakes hands as a client, with a certificate or without.
///
/// In TLS 1.3 a client is done before the server has looked at its certificate: a refusal shows at the first
/// read.
///
/// # Errors
/// When the handshake fails.
pub fn connect(socket: TcpStream, leaf: Option<&Leaf>, alpn: &[&[u8]]) -> Result<ClientStream> {
    connect_saying(socket, leaf, alpn, b"")
}

/// [`connect`], with data in one write with the last message of the handshake.
///
/// # Errors
/// As that.
pub fn connect_saying(
    mut socket: TcpStream,
    leaf: Option<&Leaf>,
    alpn: &[&[u8]],
    first: &[u8],
) -> Result<ClientStream> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match leaf {
        Some(leaf) => {
            builder.with_client_auth_cert(vec![leaf.certificate.clone()], leaf.private_key())?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("server.test")?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    connection.writer().write_all(first)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).context("handshake")?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// Shakes hands as a server that asks for a certificate and takes any or none.
///
/// # Errors
/// When the handshake fails.
pub fn accept(mut socket: TcpStream, leaf: &Leaf) -> Result<ServerStream> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_single_cert(vec![leaf.certificate.clone()], leaf.private_key())?;
    let mut connection = ServerConnection::new(Arc::new(config))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).context("handshake")?;
    }
    Ok(StreamOwned::new(connection, socket))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Accepts every certificate; signatures are still checked.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

/// What a client offers before anything is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub alpn: Vec<Vec<u8>>,
    pub server_name: Option<String>,
    /// In the client's order of preference.
    pub groups: Vec<NamedGroup>,
}

/// Reads a ClientHello and answers nothing.
///
/// # Errors
/// When what arrives isn't one.
pub fn offer(socket: &mut TcpStream) -> Result<Offer> {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        if acceptor.read_tls(socket)? == 0 {
            bail!("ended before its ClientHello did");
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((error, _)) => return Err(error.into()),
        }
    };
    let hello = accepted.client_hello();
    Ok(Offer {
        alpn: hello.alpn().into_iter().flatten().map(Vec::from).collect(),
        server_name: hello.server_name().map(str::to_owned),
        groups: hello.named_groups().unwrap_or_default().to_vec(),
    })
}
