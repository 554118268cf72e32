//! What is written into certificates: the pods' and the embedded CA's own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, string::Ia5String,
};
use rustls::{crypto::aws_lc_rs::sign::any_ecdsa_type, sign::SigningKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{CaError, directory::NewAuthority};
use crate::identity::{SpiffeId, TrustDomain};

/// Longest life of an SVID.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the clocks of two nodes may differ.
const SKEW: Duration = Duration::from_secs(60);
pub(super) const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
pub(super) const AUTHORITY_SKEW: Duration = Duration::from_secs(60 * 60);

/// From when until when an SVID is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// The public half of a key made for one certificate.
pub(super) struct LeafKey<'a>(pub(super) &'a EcdsaKeyPair);

impl Validity {
    /// `ttl` from `now`, begun a little earlier for peers whose clock is behind: at most a minute, and at
    /// most a tenth of a short life. Whole seconds, as X.509 has it. `None` when `latest` has passed.
    pub(super) fn new(now: SystemTime, ttl: Duration, latest: SystemTime) -> Option<Self> {
        let now = whole_seconds(now);
        let not_before = now.checked_sub(skew(ttl))?;
        let not_after = (now + ttl).min(not_before + LONGEST_LIFE).min(latest);
        (not_after > now).then_some(Self {
            not_before,
            not_after,
        })
    }
}

/// How far clocks are taken to differ where certificates live for `ttl`: at most a tenth of it.
pub(super) fn skew(ttl: Duration) -> Duration {
    Duration::from_secs(SKEW.min(ttl / 10).as_secs())
}

pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// The only name of an X.509-SVID (SPIFFE X509-SVID, section 2).
pub(super) fn svid_name(id: &SpiffeId) -> Result<Vec<SanType>, CaError> {
    Ok(vec![SanType::URI(Ia5String::try_from(id.to_string())?)])
}

/// An X.509-SVID (SPIFFE X509-SVID, sections 2 to 4), or a server's certificate: no subject, fit for both ends
/// of a connection.
pub(super) fn leaf(names: Vec<SanType>, validity: Validity, serial: [u8; 16]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A fresh self-signed CA that may issue leaves only.
pub(super) fn authority(domain: &TrustDomain, now: SystemTime) -> Result<NewAuthority, CaError> {
    let now = whole_seconds(now);
    let mut params = CertificateParams::default();
    params.not_before = now.checked_sub(AUTHORITY_SKEW).unwrap_or(now).into();
    params.not_after = (now + AUTHORITY_LIFE).into();
    let serial = serial()?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, domain.as_str());
    params
        .distinguished_name
        .push(DnType::CommonName, authority_name(serial));
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(format!(
        "spiffe://{domain}"
    ))?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    Ok(NewAuthority {
        certificate_pem: params.self_signed(&key)?.pem(),
        key_pem: Zeroizing::new(key.serialize_pem()),
    })
}

/// Another for each: verifiers find issuers by name, and may look no further when a signature doesn't fit (RFC 5280,
/// section 4.2.1.1).
pub(super) fn authority_name(serial: [u8; 16]) -> String {
    let [.., a, b, c, d] = serial;
    format!("Sealane CA {:08x}", u32::from_be_bytes([a, b, c, d]))
}

/// 126 random bits in 16 bytes: positive, and always 32 hexadecimal digits.
pub(super) fn serial() -> Result<[u8; 16], CaError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| CaError::Serial)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

pub(super) fn generate_key() -> Result<EcdsaKeyPair, CaError> {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| CaError::KeyGeneration)
}

/// For rustls.
pub(super) fn signing_key(key: &EcdsaKeyPair) -> Result<Arc<dyn SigningKey>, CaError> {
    // The document wipes itself when dropped; rustls keeps the key in the crypto library's memory.
    let document = key.to_pkcs8v1().map_err(|_| CaError::KeyGeneration)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(document.as_ref()));
    Ok(any_ecdsa_type(&der)?)
}

impl rcgen::SigningKey for LeafKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&rand::SystemRandom::new(), message);
        let signature = signature.map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl PublicKeyData for LeafKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
