//! Trust bundles of other domains: PEM, or the SPIFFE bundle format (SPIFFE Trust Domain and Bundle, section 4: a JWK
//! set, RFC 7517).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, pem, pem::PemObject as _};
use serde::Deserialize;

use crate::tls::{AuthorityError, check_authority};

/// Certificates of one bundle, at most.
const MOST: usize = 64;

/// What a bundle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    /// None: the domain is not trusted (section 4.1.3 of the specification).
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// How soon it should be asked for again, if it says so.
    pub(super) refresh: Option<Duration>,
}

/// Why a text is no trust bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("not PEM: {0}")]
    Pem(pem::Error),
    #[error("neither PEM certificates nor a SPIFFE bundle (a JSON object with `keys`)")]
    Neither,
    #[error("not a SPIFFE bundle: {0}")]
    Json(#[from] serde_json::Error),
    #[error("key {0}: `x5c` must hold exactly one certificate, in base64")]
    Key(usize),
    #[error("certificate {position}: {source}")]
    Certificate {
        position: usize,
        source: AuthorityError,
    },
    #[error("more than {MOST} certificates")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Key>,
    spiffe_refresh_hint: Option<u64>,
}

/// Keys of other uses are for others (section 4.2.2: ignored).
#[derive(Deserialize)]
struct Key {
    #[serde(rename = "use", default)]
    usage: String,
    #[serde(default)]
    x5c: Vec<String>,
}

impl Bundle {
    /// # Errors
    /// When it is of neither form, or one of its certificates can't be a root.
    pub(super) fn parse(text: &[u8]) -> Result<Self, BundleError> {
        let bundle = match text.trim_ascii_start().first() {
            Some(b'{') => Self::from_json(text)?,
            _ => Self::from_pem(text)?,
        };
        if bundle.roots.len() > MOST {
            return Err(BundleError::TooMany);
        }
        for (index, root) in bundle.roots.iter().enumerate() {
            check_authority(root).map_err(|source| BundleError::Certificate {
                position: index + 1,
                source,
            })?;
        }
        Ok(bundle)
    }

    fn from_pem(text: &[u8]) -> Result<Self, BundleError> {
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        match roots {
            Ok(roots) if roots.is_empty() => Err(BundleError::Neither),
            Ok(roots) => Ok(Self {
                roots,
                refresh: None,
            }),
            Err(error) => Err(BundleError::Pem(error)),
        }
    }

    fn from_json(text: &[u8]) -> Result<Self, BundleError> {
        let document: Document = serde_json::from_slice(text)?;
        let mut roots = Vec::new();
        for (index, key) in document.keys.iter().enumerate() {
            if key.usage == "x509-svid" {
                let root = key.certificate().ok_or(BundleError::Key(index + 1))?;
                roots.push(root);
            }
        }
        Ok(Self {
            roots,
            refresh: document.spiffe_refresh_hint.map(Duration::from_secs),
        })
    }
}

impl Key {
    fn certificate(&self) -> Option<CertificateDer<'static>> {
        match &self.x5c[..] {
            [only] => STANDARD.decode(only).ok().map(CertificateDer::from),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::authority;

    fn spiffe(x5c: &str, usage: &str) -> String {
        format!(
            r#"{{"keys": [{{"kty": "EC", "use": "{usage}", "x5c": [{x5c}]}}, {{"kty": "RSA", "use": "jwt-svid"}}],
                "spiffe_sequence": 3, "spiffe_refresh_hint": 60}}"#
        )
    }

    #[test]
    fn both_forms_say_the_same() {
        let (der, pem) = authority("root of others");
        let quoted = format!("\"{}\"", STANDARD.encode(&der));
        let json = Bundle::parse(spiffe(&quoted, "x509-svid").as_bytes()).unwrap();
        assert_eq!(json.refresh, Some(Duration::from_secs(60)));
        assert_eq!(json.roots, Bundle::parse(pem.as_bytes()).unwrap().roots);
        let other = Bundle::parse(spiffe(&quoted, "jwt-svid").as_bytes()).unwrap();
        assert!(other.roots.is_empty());
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        for text in [
            String::new(),
            "{}".to_owned(),
            "not a bundle".to_owned(),
            "{\"keys\": 1}".to_owned(),
            spiffe("", "x509-svid"),
            spiffe("\"!\"", "x509-svid"),
            spiffe("\"MAA=\"", "x509-svid"),
            spiffe("\"MAA=\", \"MAA=\"", "x509-svid"),
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned(),
        ] {
            assert!(Bundle::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
