//! What is kept of connections so that another policy can be asked about them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Attributes;
use crate::{
    identity::SpiffeId,
    workload::{Endpoint, ObjectName},
};

/// Connections that are alike in everything that policy may know of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// `None`: no pod that was known had its address.
    pub client: Option<ObjectName>,
    pub client_address: IpAddr,
    pub server: ObjectName,
    pub server_address: IpAddr,
    /// The server's own, not the service's.
    pub port: u16,
    #[serde(flatten)]
    pub protection: Protection,
}

/// What was on the wire, with what it proves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "security", rename_all = "snake_case")]
pub enum Protection {
    MutualTls {
        client_principal: SpiffeId,
        /// The name that the client's TLS asked for.
        #[serde(default)]
        sni: Option<Box<str>>,
    },
    /// Or TLS of the applications' own.
    Plaintext,
}

impl Flow {
    /// Where its connections ended.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.server_address,
            port: self.port,
        }
    }

    /// That the client's mutual TLS asked for.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match &self.protection {
            Protection::MutualTls { sni, .. } => sni.as_deref(),
            Protection::Plaintext => None,
        }
    }

    /// As its connections were.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'_> {
        let (principal, sni) = match &self.protection {
            Protection::MutualTls {
                client_principal,
                sni,
            } => (Some(client_principal), sni.as_deref()),
            Protection::Plaintext => (None, None),
        };
        Attributes {
            principal,
            source: self.client_address,
            destination: self.server_address,
            port: self.port,
            sni,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_survive_a_file() {
        let mutual = r#"{"client":"shop/a","client_address":"10.0.0.1","server":"shop/b","server_address":"fd00::2","port":80,"security":"mutual_tls","client_principal":"spiffe://cluster.local/ns/shop/sa/a","sni":null}"#;
        let plain = r#"{"client":null,"client_address":"10.0.0.1","server":"shop/b","server_address":"10.0.0.2","port":80,"security":"plaintext"}"#;
        for text in [mutual, plain] {
            let flow: Flow = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&flow).unwrap(), text);
        }
        for broken in [
            mutual.replace("spiffe:", "http:"),
            plain.replace("shop/b", "b"),
            plain.replace("plaintext", "mutual_tls"),
        ] {
            assert!(serde_json::from_str::<Flow>(&broken).is_err(), "{broken}");
        }
    }
}
