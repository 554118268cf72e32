//! What is shown of an SVID. Never its key.

use rustls_pki_types::CertificateDer;
use x509_parser::{
    oid_registry::OID_SIG_ED25519,
    prelude::{FromDer as _, X509Certificate},
    public_key::PublicKey,
};

use super::timestamp;
use crate::{
    admin::api,
    ca::{SvidState, SvidStatus, pem},
};

pub(super) fn shown(status: SvidStatus) -> api::Certificate {
    let svid = status.svid.as_deref();
    let chain = svid.map_or(&[][..], |svid| &svid.certified.cert);
    let leaf = chain.first().and_then(parsed);
    api::Certificate {
        identity: status.identity.to_string(),
        state: match status.state {
            SvidState::Valid => api::CertificateState::Valid,
            SvidState::Expired => api::CertificateState::Expired,
            SvidState::Missing => api::CertificateState::Missing,
        },
        serial: svid.map(|svid| svid.serial.clone()),
        not_before: svid.map(|svid| timestamp(svid.not_before)),
        not_after: svid.map(|svid| timestamp(svid.not_after)),
        issuer: leaf.as_ref().map(|leaf| leaf.issuer().to_string()),
        algorithm: leaf.as_ref().map(algorithm),
        refresh_at: timestamp(status.refresh_at),
        last_error: status.last_error,
        pem: (!chain.is_empty()).then(|| chain.iter().map(|der| pem(der)).collect()),
    }
}

fn parsed<'c>(der: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate)
}

/// Of the certificate's own key.
fn algorithm(certificate: &X509Certificate<'_>) -> String {
    let key = certificate.public_key();
    match key.parsed() {
        // Whole bytes are counted.
        Ok(PublicKey::EC(point)) if point.key_size() == 528 => "ECDSA P-521".to_owned(),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        _ if key.algorithm.algorithm == OID_SIG_ED25519 => "Ed25519".to_owned(),
        _ => key.algorithm.algorithm.to_id_string(),
    }
}
