//! A CA's key, and its name as its own certificate has it, byte by byte (RFC 5280, section 4.1.2.4).
//!
//! rcgen says what is in a certificate, but its names hold one value of each type, and one type in each part: it makes a
//! draft, which is built again with the CA's own name and signed.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, KeyIdMethod, PublicKeyData, SignatureAlgorithm};
use rustls::{SignatureScheme, sign::SigningKey};
use rustls_pki_types::CertificateDer;
use signature::Keypair;
use x509_cert::{
    Certificate, TbsCertificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    der::{Decode, Document, Encode, asn1::BitString},
    ext::Extension,
    name::Name,
    spki::{
        self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey,
        SubjectPublicKeyInfoRef,
    },
};
use x509_parser::{
    certificate::X509Certificate, der_parser::asn1_rs::Tag, extensions::ParsedExtension,
    oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY,
};

use super::{CaError, directory::Paths};

/// Signs with a key that rustls holds, so that nothing else keeps a copy.
pub(super) struct Signer {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    name: Name,
    draft: rcgen::Issuer<'static, Draft>,
}

/// Has the place of the key in a draft.
struct Draft {
    algorithm: &'static SignatureAlgorithm,
    public: Vec<u8>,
}

impl Signer {
    /// # Errors
    /// When the key isn't that of the certificate, or either is of a kind that can't be used.
    pub(super) fn new(
        key: Arc<dyn SigningKey>,
        issuer: &X509Certificate<'_>,
        paths: &Paths,
    ) -> Result<Self, CaError> {
        let kind = || CaError::KeyKind {
            path: paths.key.clone(),
        };
        if has_written_out_curve(issuer) {
            return Err(CaError::CurveWrittenOut {
                path: paths.certificate.clone(),
            });
        }
        if key.public_key().ok_or_else(kind)?.as_ref() != issuer.public_key().raw {
            return Err(CaError::KeyMismatch {
                key: paths.key.clone(),
                certificate: paths.certificate.clone(),
            });
        }
        let (scheme, algorithm) = kinds()
            .into_iter()
            .find(|(scheme, _)| key.choose_scheme(&[*scheme]).is_some())
            .ok_or_else(kind)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(identifier) = key_identifier(issuer) {
            params.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
        }
        let public = issuer.public_key().subject_public_key.data.to_vec();
        Ok(Self {
            key,
            scheme,
            name: copied_name(issuer.subject().as_raw()).ok_or_else(|| CaError::Subject {
                path: paths.certificate.clone(),
            })?,
            draft: rcgen::Issuer::new(params, Draft { algorithm, public }),
        })
    }

    /// Certifies a key.
    ///
    /// # Errors
    /// When something can't be written into a certificate, or the crypto library fails.
    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, CaError> {
        let draft = params.signed_by(key, &self.draft)?;
        let draft = Certificate::from_der(draft.der()).map_err(builder::Error::from)?;
        let draft = draft.tbs_certificate();
        let named = Named {
            issuer: &self.name,
            draft,
        };
        let mut built = CertificateBuilder::new(
            named,
            draft.serial_number().clone(),
            *draft.validity(),
            draft.subject_public_key_info().clone(),
        )?;
        let algorithm = Algorithm {
            identifier: draft.signature().clone(),
            public: self.draft.key().subject_public_key_info(),
        };
        let message = built.finalize(&algorithm)?;
        let signer = self.key.choose_scheme(&[self.scheme]);
        let signature = signer.and_then(|signer| signer.sign(&message).ok());
        let signature = signature.ok_or(rcgen::Error::RemoteKeyError)?;
        let signature = BitString::from_bytes(&signature).map_err(builder::Error::from)?;
        let certificate = built.assemble(signature, &algorithm)?;
        Ok(certificate.to_der().map_err(builder::Error::from)?.into())
    }
}

/// Instead of its name, which is all that peers know it by.
fn has_written_out_curve(issuer: &X509Certificate<'_>) -> bool {
    let algorithm = &issuer.public_key().algorithm;
    let curve = algorithm.parameters.as_ref();
    algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve.is_none_or(|curve| curve.tag() != Tag::Oid)
}

fn kinds() -> [(SignatureScheme, &'static SignatureAlgorithm); 4] {
    use SignatureScheme as Scheme;
    [
        (
            Scheme::ECDSA_NISTP256_SHA256,
            &rcgen::PKCS_ECDSA_P256_SHA256,
        ),
        (
            Scheme::ECDSA_NISTP384_SHA384,
            &rcgen::PKCS_ECDSA_P384_SHA384,
        ),
        (Scheme::RSA_PKCS1_SHA256, &rcgen::PKCS_RSA_SHA256),
        (Scheme::ED25519, &rcgen::PKCS_ED25519),
    ]
}

/// Only if it is the same when it is written again.
fn copied_name(raw: &[u8]) -> Option<Name> {
    let name = Name::from_der(raw).ok()?;
    let is_same = name.to_der().is_ok_and(|written| written == raw);
    is_same.then_some(name)
}

fn key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    let extensions = certificate.iter_extensions();
    let mut parsed = extensions.map(|extension| extension.parsed_extension());
    parsed.find_map(|extension| match extension {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}

impl PublicKeyData for Draft {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for Draft {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}

/// What a draft says, by an issuer of this name.
struct Named<'a> {
    issuer: &'a Name,
    draft: &'a TbsCertificate,
}

impl BuilderProfile for Named<'_> {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.draft.subject().clone()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        Ok(self.draft.extensions().cloned().unwrap_or_default())
    }
}

/// What the builder asks of a key: how it signs, and its public half.
#[derive(Clone)]
struct Algorithm {
    identifier: AlgorithmIdentifierOwned,
    public: Vec<u8>,
}

impl Keypair for Algorithm {
    type VerifyingKey = Self;

    fn verifying_key(&self) -> Self {
        self.clone()
    }
}

impl EncodePublicKey for Algorithm {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.public.as_slice())?)
    }
}

impl DynSignatureAlgorithmIdentifier for Algorithm {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(self.identifier.clone())
    }
}
