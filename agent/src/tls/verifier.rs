//! rustls' verifiers of both roles, from one check of a chain. What the peer signs in the handshake is checked by
//! rustls itself.

use std::{fmt, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::KeyUsage;

/// Whom to take for whom.
pub(super) trait Check: fmt::Debug + Send + Sync {
    /// `asked` is what the server was asked for; `None`: the certificate is a client's.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error>;

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms;

    /// The authorities that clients are told of.
    fn hints(&self) -> &[DistinguishedName] {
        &[]
    }

    /// Whether clients must have a certificate.
    fn is_mandatory(&self) -> bool {
        true
    }
}

/// What a certificate must be good for: `asked` as in [`Check::check`].
pub(super) fn usage(asked: Option<&ServerName<'_>>) -> KeyUsage {
    match asked {
        Some(_) => KeyUsage::server_auth(),
        None => KeyUsage::client_auth(),
    }
}

/// A check as rustls asks for it.
#[derive(Debug)]
pub(super) struct Verifier<C>(pub(super) Arc<C>);

/// What both of rustls' traits want, in the same words.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, self.0.algorithms())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, self.0.algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.algorithms().supported_schemes()
        }
    };
}

impl<C: Check> ServerCertVerifier for Verifier<C> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = (self.0).check(end_entity, intermediates, Some(asked), now);
        checked.map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl<C: Check> ClientCertVerifier for Verifier<C> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.hints()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.is_mandatory()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let checked = (self.0).check(end_entity, intermediates, None, now);
        checked.map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}
