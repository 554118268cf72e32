//! Certificate signing requests (PKCS #10, RFC 2986): only what they prove is taken from them, the public key.

use rcgen::SubjectPublicKeyInfo;
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo as ParsedKey,
};

use crate::identity::SpiffeId;

/// NIST SP 800-131A: shorter keys have not been acceptable since 2014.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// RFC 7468, section 7.
const LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];
/// How a point begins that is written as a whole (SEC 1, section 2.3.3).
const WHOLE: u8 = 4;
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const SHA1_SIGNATURES: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

/// A request whose sender has shown that it holds the private key.
pub(super) struct Csr {
    pub(super) key: SubjectPublicKeyInfo,
    /// DER of the `SubjectPublicKeyInfo`.
    pub(super) key_der: Vec<u8>,
    /// All of its names; they prove nothing.
    names: Vec<String>,
}

/// Why a request is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("the CSR is not one PKCS #10 request in PEM form")]
    Encoding,
    #[error("the CSR has an RSA key of {0} bits: 2048 to 8192 are accepted")]
    RsaSize(usize),
    #[error("the CSR has a key of an unsupported kind: use ECDSA P-256 or P-384, Ed25519 or RSA")]
    KeyKind,
    #[error("the CSR has its key as a compressed point: write it as a whole")]
    Compressed,
    #[error("the CSR is signed with SHA-1: use SHA-256 or better")]
    Sha1,
    #[error("the CSR is signed with an unsupported algorithm ({0})")]
    SignatureAlgorithm(String),
    #[error("the signature of the CSR is not of its own key")]
    Signature,
    #[error("the CSR asks for the name {0}, which is not the identity that is asked for")]
    Name(String),
}

impl Csr {
    /// Parses and checks everything that doesn't depend on who asks.
    pub(super) fn parse(pem: &str) -> Result<Self, CsrError> {
        let der = only(pem).ok_or(CsrError::Encoding)?;
        let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
            return Err(CsrError::Encoding);
        };
        let key = &request.certification_request_info.subject_pki;
        check_key(key)?;
        check_signature(&request)?;
        Ok(Self {
            key: SubjectPublicKeyInfo::from_der(key.raw).map_err(|_| CsrError::KeyKind)?,
            key_der: key.raw.to_vec(),
            names: names(&request)?,
        })
    }

    /// A request may name nobody, or the identity that is granted, and nobody else.
    pub(super) fn check_names(&self, granted: &SpiffeId) -> Result<(), CsrError> {
        let granted = granted.to_string();
        match self.names.iter().find(|name| **name != granted) {
            Some(other) => Err(CsrError::Name(other.clone())),
            None => Ok(()),
        }
    }
}

/// What is in a text that holds one request, and nothing else of this form.
fn only(text: &str) -> Option<Vec<u8>> {
    let mut parts = pem::parse_many(text).ok()?;
    let part = parts.pop()?;
    (parts.is_empty() && LABELS.contains(&part.tag())).then(|| part.into_contents())
}

fn check_key(key: &ParsedKey<'_>) -> Result<(), CsrError> {
    let kind = key.algorithm.algorithm.to_id_string();
    match (kind.as_str(), key.parsed()) {
        (RSA, Ok(PublicKey::RSA(rsa))) => {
            let leading = rsa.modulus.iter().take_while(|byte| **byte == 0).count();
            let modulus = &rsa.modulus[leading..];
            let unused = modulus
                .first()
                .map_or(0, |byte| byte.leading_zeros() as usize);
            let bits = modulus.len() * 8 - unused;
            let fits = RSA_BITS.contains(&bits);
            fits.then_some(()).ok_or(CsrError::RsaSize(bits))
        }
        (EC, Ok(PublicKey::EC(point))) if matches!(point.key_size(), 256 | 384) => {
            // The same key must not come in two forms.
            let is_whole = point.data().first() == Some(&WHOLE);
            is_whole.then_some(()).ok_or(CsrError::Compressed)
        }
        (ED25519, _) => Ok(()),
        _ => Err(CsrError::KeyKind),
    }
}

/// By the algorithms that handshakes may use, which leaves SHA-1 out.
fn check_signature(request: &X509CertificationRequest<'_>) -> Result<(), CsrError> {
    let info = &request.certification_request_info;
    let oid = request.signature_algorithm.algorithm.to_id_string();
    if SHA1_SIGNATURES.contains(&oid.as_str()) {
        return Err(CsrError::Sha1);
    }
    let key_algorithm = content(info.subject_pki.raw).and_then(|inner| content(inner));
    let key_algorithm = key_algorithm.ok_or(CsrError::Encoding)?;
    // Behind the request's info in the outer sequence.
    let signature_algorithm = content(request.as_raw())
        .and_then(|inner| inner.get(info.raw.len()..))
        .and_then(content)
        .ok_or(CsrError::Encoding)?;
    let mut fitting = webpki::ALL_VERIFICATION_ALGS.iter().filter(|algorithm| {
        algorithm.signature_alg_id().as_ref() == signature_algorithm
            && algorithm.public_key_alg_id().as_ref() == key_algorithm
    });
    let algorithm = fitting.next().ok_or(CsrError::SignatureAlgorithm(oid))?;
    algorithm
        .verify_signature(
            &info.subject_pki.subject_public_key.data,
            info.raw,
            &request.signature_value.data,
        )
        .map_err(|_| CsrError::Signature)
}

/// What is inside the first DER element.
fn content(der: &[u8]) -> Option<&[u8]> {
    let (_, any) = x509_parser::der_parser::asn1_rs::Any::from_der(der).ok()?;
    Some(any.data)
}

fn names(request: &X509CertificationRequest<'_>) -> Result<Vec<String>, CsrError> {
    let mut names = Vec::new();
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(wanted) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &wanted.extensions {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(found) => {
                    names.extend(found.general_names.iter().map(|name| match name {
                        GeneralName::URI(uri) => (*uri).to_owned(),
                        other => other.to_string(),
                    }));
                }
                ParsedExtension::ParseError { .. } => return Err(CsrError::Encoding),
                _ => {}
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
