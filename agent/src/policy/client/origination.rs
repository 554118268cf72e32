//! `tls` of a `DestinationRule`: what a client speaks, and with which certificates
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings>).

use std::{fmt, path::PathBuf, sync::Arc};

use serde::Deserialize;

use crate::policy::{
    FieldPath, Invalid, Reason,
    alternative_name::{self, is_dns_name},
    field::refuse,
};

/// TLS of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientTls {
    Disable,
    /// With the mesh's own certificates.
    IstioMutual,
    /// TLS to somebody who isn't of the mesh, or to an application that does its own.
    Originate(Arc<Origination>),
}

/// TLS with certificates from files of the node. They are read when a connection needs them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origination {
    /// The client's own: MUTUAL. Without one: SIMPLE.
    pub certificate: Option<CertificateFiles>,
    /// Whom the server's certificate must come from; the system's authorities if it isn't said.
    pub authorities: Option<PathBuf>,
    /// One of these must be a name of the server's certificate (DNS name, URI or address); what the server is asked
    /// for if there are none.
    pub names: Vec<String>,
    /// What the server is asked for; the host's own name if it isn't said.
    pub sni: Option<String>,
}

/// PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The client's, then those between it and the root.
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl ClientTls {
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Disable => "DISABLE",
            Self::IstioMutual => "ISTIO_MUTUAL",
            Self::Originate(origination) if origination.certificate.is_some() => "MUTUAL",
            Self::Originate(_) => "SIMPLE",
        }
    }
}

impl fmt::Display for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tls {
    #[serde(default)]
    mode: WrittenMode,
    client_certificate: Option<String>,
    private_key: Option<String>,
    ca_certificates: Option<String>,
    ca_crl: Option<String>,
    credential_name: Option<String>,
    subject_alt_names: Option<Vec<String>>,
    sni: Option<String>,
    insecure_skip_verify: Option<bool>,
}

/// `mode`. Absent means DISABLE, as in Istio, where it is the enumeration's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum WrittenMode {
    #[default]
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

impl Tls {
    /// `None`: there were errors, which are in `errors`.
    pub(super) fn checked(&self, at: &FieldPath, errors: &mut Vec<Invalid>) -> Option<ClientTls> {
        let before = errors.len();
        let tls = match self.mode {
            WrittenMode::Disable => {
                self.refuse_all(at, errors);
                let sni = [("sni", self.sni.is_some())];
                refuse(at, &sni, &Reason::OnlyOrigination, errors);
                ClientTls::Disable
            }
            WrittenMode::IstioMutual => {
                self.refuse_all(at, errors);
                ClientTls::IstioMutual
            }
            WrittenMode::Simple => {
                let own = [
                    ("clientCertificate", self.client_certificate.is_some()),
                    ("privateKey", self.private_key.is_some()),
                ];
                refuse(at, &own, &Reason::OnlyMutual, errors);
                self.originate(None, at, errors)
            }
            // Whose files are in a Secret names none itself.
            WrittenMode::Mutual if self.credential_name.is_some() => {
                self.originate(None, at, errors)
            }
            WrittenMode::Mutual => {
                let chain = needed(&self.client_certificate, at, "clientCertificate", errors);
                let key = needed(&self.private_key, at, "privateKey", errors);
                let files = chain.zip(key);
                let files = files.map(|(chain, key)| CertificateFiles { chain, key });
                self.originate(files, at, errors)
            }
        };
        (errors.len() == before).then_some(tls)
    }

    /// Not `sni`, which Istio's egress gateways are asked for in mutual TLS: agents ask for the service, whatever it is.
    fn refuse_all(&self, at: &FieldPath, errors: &mut Vec<Invalid>) {
        let written = [
            ("clientCertificate", self.client_certificate.is_some()),
            ("privateKey", self.private_key.is_some()),
            ("caCertificates", self.ca_certificates.is_some()),
            ("caCrl", self.ca_crl.is_some()),
            ("credentialName", self.credential_name.is_some()),
            ("subjectAltNames", self.subject_alt_names.is_some()),
            ("insecureSkipVerify", self.insecure_skip_verify.is_some()),
        ];
        refuse(at, &written, &Reason::OnlyOrigination, errors);
    }

    fn refuse_unsupported(&self, at: &FieldPath, errors: &mut Vec<Invalid>) {
        let skips = self.insecure_skip_verify == Some(true);
        let fields = [
            (
                "credentialName",
                self.credential_name.is_some(),
                Reason::Secret,
            ),
            ("caCrl", self.ca_crl.is_some(), Reason::RevocationList),
            ("insecureSkipVerify", skips, Reason::Unverified),
        ];
        for (key, is_set, reason) in fields {
            refuse(at, &[(key, is_set)], &reason, errors);
        }
        let names = self.subject_alt_names.as_deref().unwrap_or_default();
        alternative_name::check(names, at, errors);
    }

    fn originate(
        &self,
        certificate: Option<CertificateFiles>,
        at: &FieldPath,
        errors: &mut Vec<Invalid>,
    ) -> ClientTls {
        self.refuse_unsupported(at, errors);
        let names = self.subject_alt_names.clone().unwrap_or_default();
        let sni = self.sni.clone().filter(|sni| !sni.is_empty());
        let bad = sni.as_ref().filter(|sni| !is_dns_name(sni));
        if let Some(sni) = bad {
            let reason = Reason::ServerName(sni.clone());
            errors.push(Invalid::new(at.clone().key("sni"), reason));
        }
        let authorities = self.ca_certificates.as_ref();
        if authorities.is_some_and(String::is_empty) {
            errors.push(Invalid::new(
                at.clone().key("caCertificates"),
                Reason::Empty,
            ));
        }
        ClientTls::Originate(Arc::new(Origination {
            certificate,
            authorities: authorities.map(PathBuf::from),
            names,
            sni,
        }))
    }
}

fn needed(
    written: &Option<String>,
    at: &FieldPath,
    key: &str,
    errors: &mut Vec<Invalid>,
) -> Option<PathBuf> {
    let written = written.as_ref().filter(|path| !path.is_empty());
    if written.is_none() {
        let field = at.clone().key(key);
        errors.push(Invalid::new(field, Reason::NeededFor("MUTUAL")));
    }
    written.map(PathBuf::from)
}
