//! Who is at the other end: chain, validity, usage, and exactly one SPIFFE ID
//! (X509-SVID specification, sections 4 and 5).

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::TrustAnchors;
use crate::identity::{SpiffeId, SvidNameError, spiffe_id};

/// Why a certificate of the right form is not accepted. What is wrong with the form or the chain is told by
/// [`CertificateError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Name(#[from] SvidNameError),
    #[error("{0}: no root of this trust domain is trusted")]
    TrustDomain(SpiffeId),
    #[error("the peer is {actual}, expected {expected}")]
    WrongIdentity {
        expected: SpiffeId,
        actual: SpiffeId,
    },
}

pub(super) fn ours(error: VerifyError) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

/// Both roles: as a client it accepts exactly one SPIFFE ID, as a server any of a trusted domain.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    anchors: Arc<TrustAnchors>,
    expected: Option<SpiffeId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    pub(super) fn new(
        anchors: Arc<TrustAnchors>,
        expected: Option<SpiffeId>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            anchors,
            expected,
            algorithms,
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usage = KeyUsage::server_auth();
        let actual = self
            .anchors
            .verify(end_entity, intermediates, now, usage, self.algorithms)?;
        match &self.expected {
            Some(expected) if *expected == actual => Ok(ServerCertVerified::assertion()),
            Some(expected) => Err(ours(VerifyError::WrongIdentity {
                expected: expected.clone(),
                actual,
            })),
            None => Err(Error::General("no expected identity".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let usage = KeyUsage::client_auth();
        self.anchors
            .verify(end_entity, intermediates, now, usage, self.algorithms)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The SPIFFE ID of a certificate whose chain the handshake has verified.
pub(super) fn verified_id(certificates: &[CertificateDer<'_>]) -> Option<SpiffeId> {
    let certificate = EndEntityCert::try_from(certificates.first()?).ok()?;
    spiffe_id(&certificate).ok()
}
