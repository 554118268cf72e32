//! `Gateway.spec` as written, and what of it makes no sense.

use std::collections::HashMap;

use serde::{Deserialize, de::IgnoredAny};

use super::{super::virtual_service::port, Server, ServerHost, Work, tls::WrittenTls};
use crate::policy::{FieldPath, Invalid, Labels, Reason, field::refuse, host::Host};

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GatewaySpec {
    pub(super) selector: Option<Labels>,
    pub(super) servers: Option<Vec<WrittenServer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenServer {
    #[serde(rename = "name")]
    _name: Option<String>,
    port: Option<WrittenPort>,
    hosts: Option<Vec<String>>,
    tls: Option<WrittenTls>,
    bind: Option<IgnoredAny>,
    default_endpoint: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct WrittenPort {
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

/// What the servers of one document must not have in common.
#[derive(Default)]
pub(super) struct Seen {
    names: HashMap<String, usize>,
    ports: HashMap<u16, Work>,
}

impl WrittenServer {
    /// `None`: there were errors, which are in `errors`.
    pub(super) fn checked(
        self,
        at: &FieldPath,
        seen: &mut Seen,
        errors: &mut Vec<Invalid>,
    ) -> Option<Server> {
        let others = [
            ("bind", self.bind.is_some()),
            ("defaultEndpoint", self.default_endpoint.is_some()),
        ];
        refuse(at, &others, &Reason::TrafficManagement, errors);
        let written = self.hosts.unwrap_or_default();
        let hosts = hosts(written, &at.clone().key("hosts"), errors);
        let at_port = at.clone().key("port");
        let Some(port) = self.port else {
            errors.push(Invalid::new(at_port, Reason::Mandatory));
            return None;
        };
        let (number, protocol) = port.checked(&at_port, seen, errors)?;
        let work = work(protocol, self.tls, &at.clone().key("tls"), errors)?;
        let first = seen.ports.entry(number).or_insert_with(|| work.clone());
        if first.family() != work.family() {
            let reason = Reason::Instead("another server of this port speaks another protocol");
            errors.push(Invalid::new(at_port.key("protocol"), reason));
        }
        Some(Server {
            port: number,
            hosts,
            work,
        })
    }
}

impl WrittenPort {
    fn checked(
        self,
        at: &FieldPath,
        seen: &mut Seen,
        errors: &mut Vec<Invalid>,
    ) -> Option<(u16, Protocol)> {
        let deprecated = [("targetPort", self.target_port.is_some())];
        refuse(at, &deprecated, &Reason::TrafficManagement, errors);
        let at_name = at.clone().key("name");
        match self.name.filter(|name| !name.is_empty()) {
            None => errors.push(Invalid::new(at_name, Reason::Mandatory)),
            // Istio: names of ports are unique within a gateway.
            Some(name) => {
                let count = seen.names.entry(name.clone()).or_default();
                *count += 1;
                if *count > 1 {
                    errors.push(Invalid::new(at_name, Reason::Twice(name)));
                }
            }
        }
        if self.protocol.is_none() {
            errors.push(Invalid::new(at.clone().key("protocol"), Reason::Mandatory));
        }
        let number = port(self.number, &at.clone().key("number"), errors);
        number.zip(self.protocol)
    }
}

fn work(
    protocol: Protocol,
    tls: Option<WrittenTls>,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Option<Work> {
    let http = match protocol {
        Protocol::Https => true,
        Protocol::Tls => false,
        Protocol::Tcp | Protocol::Mongo => return in_clear(Work::Tcp, tls, at, errors),
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => {
            return in_clear(Work::Http, tls, at, errors);
        }
    };
    let Some(tls) = tls else {
        errors.push(Invalid::new(at.clone(), Reason::NeededFor("HTTPS and TLS")));
        return None;
    };
    tls.checked(http, at, errors)
}

fn in_clear(
    work: Work,
    tls: Option<WrittenTls>,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Option<Work> {
    match tls {
        None => Some(work),
        Some(tls) if tls.only_redirects() && matches!(work, Work::Http) => Some(Work::Redirect),
        Some(_) => {
            errors.push(Invalid::new(at.clone(), Reason::PlainServer));
            None
        }
    }
}

/// `HOST` or `NAMESPACE/HOST`, where the namespace may be `*` or `.`.
fn hosts(written: Vec<String>, at: &FieldPath, errors: &mut Vec<Invalid>) -> Vec<ServerHost> {
    if written.is_empty() {
        errors.push(Invalid::new(at.clone(), Reason::Mandatory));
    }
    let mut hosts = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        let (namespace, host) = match written.split_once('/') {
            None => (None, &*written),
            Some(("*", host)) => (None, host),
            Some((namespace, host)) => (Some(namespace.to_owned()), host),
        };
        let usable = namespace.as_ref().is_none_or(|n| !n.is_empty());
        match Host::parse(host).filter(|_| usable) {
            Some(host) => hosts.push(ServerHost { namespace, host }),
            None => {
                let field = at.clone().index(index);
                errors.push(Invalid::new(field, Reason::Host(written)));
            }
        }
    }
    hosts
}
