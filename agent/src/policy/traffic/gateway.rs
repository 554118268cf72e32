//! `Gateway` (<https://istio.io/latest/docs/reference/config/networking/gateway/>): what comes in from outside of the
//! mesh. Read and checked; no gateway is run yet.

use serde::{Deserialize, de::IgnoredAny};

use super::virtual_service::port;
use crate::policy::{
    DocumentRef, FieldPath, Invalid, Reason, field::refuse, host::Host, selector::Labels,
};

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    pub(in crate::policy) document: DocumentRef,
}

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GatewaySpec {
    #[serde(rename = "selector")]
    _selector: Option<Labels>,
    servers: Option<Vec<Server>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Server {
    #[serde(rename = "name")]
    _name: Option<String>,
    port: Option<ServerPort>,
    hosts: Option<Vec<String>>,
    tls: Option<ServerTls>,
    bind: Option<IgnoredAny>,
    default_endpoint: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ServerPort {
    number: i64,
    name: Option<String>,
    protocol: Option<Protocol>,
    target_port: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Protocol {
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "HTTPS")]
    Https,
    #[serde(rename = "HTTP2")]
    Http2,
    #[serde(rename = "GRPC")]
    Grpc,
    #[serde(rename = "GRPC-WEB")]
    GrpcWeb,
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "TLS")]
    Tls,
    #[serde(rename = "MONGO")]
    Mongo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ServerTls {
    https_redirect: Option<bool>,
    mode: Option<Mode>,
    server_certificate: Option<String>,
    private_key: Option<String>,
    ca_certificates: Option<String>,
    credential_name: Option<String>,
    #[serde(rename = "subjectAltNames")]
    _subject_alt_names: Option<Vec<String>>,
    ca_crl: Option<IgnoredAny>,
    verify_certificate_spki: Option<IgnoredAny>,
    verify_certificate_hash: Option<IgnoredAny>,
    min_protocol_version: Option<IgnoredAny>,
    max_protocol_version: Option<IgnoredAny>,
    cipher_suites: Option<IgnoredAny>,
    credential_names: Option<IgnoredAny>,
}

/// Of a server that terminates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    Passthrough,
    Simple,
    Mutual,
    AutoPassthrough,
    IstioMutual,
    OptionalMutual,
}

impl Gateway {
    /// # Errors
    /// Every field that makes no sense, or asks for what Sealane doesn't do.
    pub fn new(document: DocumentRef, spec: GatewaySpec) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let servers = spec.servers.unwrap_or_default();
        let at = FieldPath::of("spec.servers");
        if servers.is_empty() {
            errors.push(Invalid::new(at.clone(), Reason::Empty));
        }
        for (index, server) in servers.into_iter().enumerate() {
            server.check(&at.clone().index(index), &mut errors);
        }
        if errors.is_empty() {
            Ok(Self { document })
        } else {
            Err(errors)
        }
    }
}

impl Server {
    fn check(self, at: &FieldPath, errors: &mut Vec<Invalid>) {
        let others = [
            ("bind", self.bind.is_some()),
            ("defaultEndpoint", self.default_endpoint.is_some()),
        ];
        refuse(at, &others, &Reason::TrafficManagement, errors);
        hosts(
            self.hosts.unwrap_or_default(),
            &at.clone().key("hosts"),
            errors,
        );
        let at_port = at.clone().key("port");
        let Some(protocol) = self.port.and_then(|port| port.check(&at_port, errors)) else {
            errors.push(Invalid::new(at_port.key("protocol"), Reason::Empty));
            return;
        };
        let at = at.clone().key("tls");
        match (protocol, self.tls) {
            (Protocol::Https | Protocol::Tls, None) => {
                errors.push(Invalid::new(at, Reason::NeededFor("HTTPS and TLS")));
            }
            (Protocol::Https | Protocol::Tls, Some(tls)) => tls.check(&at, errors),
            (_, Some(tls)) if tls.https_redirect == Some(true) && tls.mode.is_none() => {}
            (_, Some(_)) => errors.push(Invalid::new(at, Reason::PlainServer)),
            (_, None) => {}
        }
    }
}

impl ServerPort {
    /// What is spoken there, if it says so.
    fn check(self, at: &FieldPath, errors: &mut Vec<Invalid>) -> Option<Protocol> {
        port(self.number, &at.clone().key("number"), errors);
        let deprecated = [("targetPort", self.target_port.is_some())];
        refuse(at, &deprecated, &Reason::TrafficManagement, errors);
        if self.name.is_none_or(|name| name.is_empty()) {
            errors.push(Invalid::new(at.clone().key("name"), Reason::Empty));
        }
        self.protocol
    }
}

impl ServerTls {
    fn check(self, at: &FieldPath, errors: &mut Vec<Invalid>) {
        let others = [
            ("caCrl", self.ca_crl.is_some()),
            (
                "verifyCertificateSpki",
                self.verify_certificate_spki.is_some(),
            ),
            (
                "verifyCertificateHash",
                self.verify_certificate_hash.is_some(),
            ),
            ("minProtocolVersion", self.min_protocol_version.is_some()),
            ("maxProtocolVersion", self.max_protocol_version.is_some()),
            ("cipherSuites", self.cipher_suites.is_some()),
            ("credentialNames", self.credential_names.is_some()),
        ];
        let instead = Reason::Instead("TLS 1.2 and 1.3 with rustls' suites, one credential");
        refuse(at, &others, &instead, errors);
        let mutual = match self.mode.unwrap_or(Mode::Passthrough) {
            Mode::Passthrough | Mode::AutoPassthrough | Mode::IstioMutual => {
                let instead = Reason::Instead("SIMPLE, MUTUAL and OPTIONAL_MUTUAL are");
                errors.push(Invalid::new(at.clone().key("mode"), instead));
                return;
            }
            Mode::Simple => false,
            Mode::Mutual | Mode::OptionalMutual => true,
        };
        let is_set = |field: &Option<String>| field.as_ref().is_some_and(|f| !f.is_empty());
        if is_set(&self.credential_name) {
            let files = [
                ("serverCertificate", self.server_certificate.is_some()),
                ("privateKey", self.private_key.is_some()),
                ("caCertificates", self.ca_certificates.is_some()),
            ];
            let instead = Reason::Instead("beside credentialName");
            refuse(at, &files, &instead, errors);
            return;
        }
        let needed = [
            ("serverCertificate", is_set(&self.server_certificate), true),
            ("privateKey", is_set(&self.private_key), true),
            ("caCertificates", is_set(&self.ca_certificates), mutual),
        ];
        for (key, _, _) in needed
            .iter()
            .filter(|(_, is_set, is_needed)| *is_needed && !is_set)
        {
            let reason = Reason::NeededFor("a server without credentialName");
            errors.push(Invalid::new(at.clone().key(key), reason));
        }
    }
}

/// `HOST` or `NAMESPACE/HOST`, where the namespace may be `*` or `.`.
fn hosts(written: Vec<String>, at: &FieldPath, errors: &mut Vec<Invalid>) {
    if written.is_empty() {
        errors.push(Invalid::new(at.clone(), Reason::Empty));
    }
    for (index, written) in written.into_iter().enumerate() {
        let host = written.split_once('/').map_or(&*written, |(_, host)| host);
        if Host::parse(host).is_none() {
            let field = at.clone().index(index);
            errors.push(Invalid::new(field, Reason::Host(written)));
        }
    }
}
