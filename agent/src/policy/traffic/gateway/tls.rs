//! `tls` of a `Gateway`'s server
//! (<https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings>).

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::CipherSuite;
use serde::{Deserialize, de::IgnoredAny};

use super::Work;
use crate::policy::{FieldPath, Invalid, Reason, field::refuse};

/// How TLS of clients from outside is ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerTls {
    pub credential: Credential,
    pub clients: Clients,
    /// One of these must be a name of the client's certificate (DNS name, URI or address); empty: any.
    pub names: Vec<String>,
    pub versions: Versions,
    /// Of TLS 1.2, by their numbers (IANA); empty: all that there are.
    pub suites: Vec<u16>,
    /// HTTP is spoken inside.
    pub http: bool,
}

impl ServerTls {
    /// Whether a client may speak this: version and cipher suite by their numbers (IANA).
    #[must_use]
    pub fn takes(&self, version: TlsVersion, suite: u16) -> bool {
        let old = version == TlsVersion::V12;
        (self.versions.least..=self.versions.most).contains(&version)
            && (!old || self.suites.is_empty() || self.suites.contains(&suite))
    }
}

/// Where certificate, key and authorities are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Credential {
    /// A Secret of the gateway's own namespace.
    Secret(String),
    Files {
        chain: PathBuf,
        key: PathBuf,
        authorities: Option<PathBuf>,
    },
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => f.write_str(name),
            Self::Files { chain, .. } => chain.display().fmt(f),
        }
    }
}

/// What clients must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clients {
    /// SIMPLE: nothing.
    Anybody,
    /// OPTIONAL_MUTUAL: those that show a certificate must show a good one.
    Optional,
    /// MUTUAL.
    Certified,
}

/// Lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    pub least: TlsVersion,
    pub most: TlsVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    V12,
    V13,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenTls {
    https_redirect: Option<bool>,
    mode: Option<WrittenMode>,
    server_certificate: Option<String>,
    private_key: Option<String>,
    ca_certificates: Option<String>,
    credential_name: Option<String>,
    subject_alt_names: Option<Vec<String>>,
    ca_crl: Option<IgnoredAny>,
    verify_certificate_spki: Option<IgnoredAny>,
    verify_certificate_hash: Option<IgnoredAny>,
    min_protocol_version: Option<WrittenVersion>,
    max_protocol_version: Option<WrittenVersion>,
    cipher_suites: Option<Vec<String>>,
    credential_names: Option<IgnoredAny>,
}

/// `mode`. Absent means PASSTHROUGH, as in Istio, where it is the enumeration's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum WrittenMode {
    #[default]
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum WrittenVersion {
    #[serde(rename = "TLS_AUTO")]
    Auto,
    #[serde(rename = "TLSV1_0")]
    V10,
    #[serde(rename = "TLSV1_1")]
    V11,
    #[serde(rename = "TLSV1_2")]
    V12,
    #[serde(rename = "TLSV1_3")]
    V13,
}

/// As Envoy names them: those of TLS 1.2 that are not broken.
const SUITES: [(&str, CipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

impl WrittenTls {
    /// `httpsRedirect` and nothing else.
    pub(super) fn only_redirects(&self) -> bool {
        self.https_redirect == Some(true)
            && self.mode.is_none()
            && self.server_certificate.is_none()
            && self.credential_name.is_none()
    }

    /// `None`: there were errors, which are in `errors`.
    pub(super) fn checked(
        self,
        http: bool,
        at: &FieldPath,
        errors: &mut Vec<Invalid>,
    ) -> Option<Work> {
        let before = errors.len();
        let clients = match self.mode.unwrap_or_default() {
            WrittenMode::Passthrough => {
                self.refuse_all(at, errors);
                return (errors.len() == before).then_some(Work::Passthrough);
            }
            WrittenMode::AutoPassthrough | WrittenMode::IstioMutual => {
                let instead = Reason::Instead(
                    "write PASSTHROUGH, SIMPLE, MUTUAL or OPTIONAL_MUTUAL; between meshes of one root no gateway is needed",
                );
                errors.push(Invalid::new(at.clone().key("mode"), instead));
                return None;
            }
            WrittenMode::Simple => Clients::Anybody,
            WrittenMode::Mutual => Clients::Certified,
            WrittenMode::OptionalMutual => Clients::Optional,
        };
        self.refuse_unsupported(at, errors);
        let credential = self.credential(clients, at, errors);
        let versions = self.versions(at, errors);
        let suites = self.suites(at, errors);
        let names = self.names(clients, at, errors);
        let tls = ServerTls {
            credential: credential?,
            clients,
            names,
            versions,
            suites,
            http,
        };
        (errors.len() == before).then(|| Work::Terminate(Arc::new(tls)))
    }

    fn refuse_all(&self, at: &FieldPath, errors: &mut Vec<Invalid>) {
        let written = [
            ("serverCertificate", self.server_certificate.is_some()),
            ("privateKey", self.private_key.is_some()),
            ("caCertificates", self.ca_certificates.is_some()),
            ("credentialName", self.credential_name.is_some()),
            ("subjectAltNames", self.subject_alt_names.is_some()),
            ("minProtocolVersion", self.min_protocol_version.is_some()),
            ("maxProtocolVersion", self.max_protocol_version.is_some()),
            ("cipherSuites", self.cipher_suites.is_some()),
        ];
        let instead = Reason::Instead("with PASSTHROUGH TLS is the server's own; say `mode`");
        refuse(at, &written, &instead, errors);
        self.refuse_unsupported(at, errors);
    }

    fn refuse_unsupported(&self, at: &FieldPath, errors: &mut Vec<Invalid>) {
        let redirect = [("httpsRedirect", self.https_redirect == Some(true))];
        refuse(
            at,
            &redirect,
            &Reason::Instead("clients come with TLS"),
            errors,
        );
        refuse(
            at,
            &[("caCrl", self.ca_crl.is_some())],
            &Reason::Instead("name the file with --crl of `sealane gateway`"),
            errors,
        );
        let pins = [
            (
                "verifyCertificateSpki",
                self.verify_certificate_spki.is_some(),
            ),
            (
                "verifyCertificateHash",
                self.verify_certificate_hash.is_some(),
            ),
        ];
        let instead =
            Reason::Instead("name the clients' authority, and their names with subjectAltNames");
        refuse(at, &pins, &instead, errors);
        let several = [("credentialNames", self.credential_names.is_some())];
        refuse(
            at,
            &several,
            &Reason::Instead("write one credentialName"),
            errors,
        );
    }

    fn credential(
        &self,
        clients: Clients,
        at: &FieldPath,
        errors: &mut Vec<Invalid>,
    ) -> Option<Credential> {
        let set = |field: &Option<String>| field.clone().filter(|f| !f.is_empty());
        if let Some(name) = set(&self.credential_name) {
            let files = [
                ("serverCertificate", self.server_certificate.is_some()),
                ("privateKey", self.private_key.is_some()),
                ("caCertificates", self.ca_certificates.is_some()),
            ];
            refuse(
                at,
                &files,
                &Reason::Instead("beside credentialName"),
                errors,
            );
            // It becomes a part of a path.
            let good = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
            if !good || name.starts_with('.') {
                let field = at.clone().key("credentialName");
                let instead =
                    Reason::Instead("write the name of a Secret of the gateway's namespace");
                errors.push(Invalid::new(field, instead));
            }
            return Some(Credential::Secret(name));
        }
        let mut needed = |field: &Option<String>, key: &str| {
            let field = set(field).map(PathBuf::from);
            if field.is_none() {
                let reason = Reason::NeededFor("a server without credentialName");
                errors.push(Invalid::new(at.clone().key(key), reason));
            }
            field
        };
        let chain = needed(&self.server_certificate, "serverCertificate");
        let key = needed(&self.private_key, "privateKey");
        let authorities = match clients {
            Clients::Anybody => None,
            Clients::Optional | Clients::Certified => {
                needed(&self.ca_certificates, "caCertificates")
            }
        };
        if clients == Clients::Anybody {
            let written = [("caCertificates", self.ca_certificates.is_some())];
            refuse(at, &written, &Reason::OnlyMutual, errors);
        }
        Some(Credential::Files {
            chain: chain?,
            key: key?,
            authorities,
        })
    }

    fn versions(&self, at: &FieldPath, errors: &mut Vec<Invalid>) -> Versions {
        let mut version = |written, key: &str, otherwise| match written {
            None | Some(WrittenVersion::Auto) => otherwise,
            Some(WrittenVersion::V12) => TlsVersion::V12,
            Some(WrittenVersion::V13) => TlsVersion::V13,
            Some(WrittenVersion::V10 | WrittenVersion::V11) => {
                let instead = Reason::Instead("write TLSV1_2 or TLSV1_3: those before are broken");
                errors.push(Invalid::new(at.clone().key(key), instead));
                otherwise
            }
        };
        let least = version(
            self.min_protocol_version,
            "minProtocolVersion",
            TlsVersion::V12,
        );
        let most = version(
            self.max_protocol_version,
            "maxProtocolVersion",
            TlsVersion::V13,
        );
        if least > most {
            let field = at.clone().key("maxProtocolVersion");
            errors.push(Invalid::new(
                field,
                Reason::Instead("lower than minProtocolVersion"),
            ));
        }
        Versions { least, most }
    }

    fn suites(&self, at: &FieldPath, errors: &mut Vec<Invalid>) -> Vec<u16> {
        let mut suites = Vec::new();
        for (index, written) in self.cipher_suites.iter().flatten().enumerate() {
            match SUITES.iter().find(|(name, _)| name == written) {
                Some((_, suite)) => suites.push((*suite).into()),
                None => {
                    let field = at.clone().key("cipherSuites").index(index);
                    let known = "ECDHE-ECDSA or ECDHE-RSA with AES128-GCM-SHA256, AES256-GCM-SHA384 or CHACHA20-POLY1305";
                    let value = written.clone();
                    errors.push(Invalid::new(field, Reason::Unknown { value, known }));
                }
            }
        }
        suites
    }

    fn names(&self, clients: Clients, at: &FieldPath, errors: &mut Vec<Invalid>) -> Vec<String> {
        let names = self.subject_alt_names.clone().unwrap_or_default();
        if clients == Clients::Anybody {
            let written = [("subjectAltNames", !names.is_empty())];
            refuse(at, &written, &Reason::OnlyMutual, errors);
        }
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() || name.contains('*') {
                let field = at.clone().key("subjectAltNames").index(index);
                errors.push(Invalid::new(field, Reason::AlternativeName(name.clone())));
            }
        }
        names
    }
}
