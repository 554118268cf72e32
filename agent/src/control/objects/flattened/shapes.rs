//! What documents are made of: which fields may stand in which.

use super::super::kind::Kind;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Value,
    Values,
    /// Text by names that anybody may choose.
    Free,
    /// By port number.
    Ports(Fields),
    Map(Fields),
    List(Fields),
}

pub type Fields = &'static [(&'static str, Shape)];

use Shape::{Free, List, Map, Ports, Value, Values};

/// The fields of a document; `None` where nobody here knows them.
pub fn of(kind: Kind) -> Option<Fields> {
    match kind {
        Kind::PeerAuthentication => Some(PEER_AUTHENTICATION),
        Kind::AuthorizationPolicy => Some(AUTHORIZATION_POLICY),
        Kind::DestinationRule => Some(DESTINATION_RULE),
        Kind::LegacyPolicy | Kind::MeshPolicy => Some(LEGACY_POLICY),
        _ => None,
    }
}

/// The least deep place at which a field may stand.
pub fn home(document: Fields, field: &str) -> Option<String> {
    let mut level = vec![(String::new(), document)];
    while !level.is_empty() {
        let here = level.iter().find(|(path, fields)| {
            !path.is_empty() && fields.iter().any(|(name, _)| *name == field)
        });
        if let Some((path, _)) = here {
            return Some(path.clone());
        }
        level = level
            .iter()
            .flat_map(|(path, fields)| within(path, fields))
            .collect();
    }
    None
}

fn within(path: &str, fields: Fields) -> Vec<(String, Fields)> {
    let dot = if path.is_empty() { "" } else { "." };
    let inner = fields.iter().filter_map(|(name, shape)| match shape {
        Map(inner) => Some((format!("{path}{dot}{name}"), *inner)),
        List(inner) => Some((format!("{path}{dot}{name}[]"), *inner)),
        Ports(inner) => Some((format!("{path}{dot}{name}.PORT"), *inner)),
        Value | Values | Free => None,
    });
    inner.collect()
}

macro_rules! document {
    ($name:ident, $spec:expr) => {
        const $name: Fields = &[
            ("apiVersion", Value),
            ("kind", Value),
            ("metadata", Map(METADATA)),
            ("spec", Map($spec)),
        ];
    };
}

document!(
    PEER_AUTHENTICATION,
    &[
        ("selector", Map(SELECTOR)),
        ("mtls", Map(&[("mode", Value)])),
        ("portLevelMtls", Ports(&[("mode", Value)])),
    ]
);

document!(
    AUTHORIZATION_POLICY,
    &[
        ("selector", Map(SELECTOR)),
        ("action", Value),
        ("rules", List(RULE)),
    ]
);

document!(
    DESTINATION_RULE,
    &[
        ("host", Value),
        ("exportTo", Values),
        ("workloadSelector", Map(SELECTOR)),
        ("trafficPolicy", Map(TRAFFIC_POLICY)),
        ("subsets", List(SUBSET)),
    ]
);

document!(
    LEGACY_POLICY,
    &[
        (
            "peers",
            List(&[("mtls", Map(&[("mode", Value), ("allowTls", Value)]))]),
        ),
        ("peerIsOptional", Value),
    ]
);

const METADATA: Fields = &[
    ("name", Value),
    ("namespace", Value),
    ("labels", Free),
    ("annotations", Free),
    ("creationTimestamp", Value),
];

const SELECTOR: Fields = &[("matchLabels", Free)];

const RULE: Fields = &[
    ("from", List(&[("source", Map(SOURCE))])),
    ("to", List(&[("operation", Map(OPERATION))])),
    (
        "when",
        List(&[("key", Value), ("values", Values), ("notValues", Values)]),
    ),
];

const SOURCE: Fields = &[
    ("principals", Values),
    ("notPrincipals", Values),
    ("requestPrincipals", Values),
    ("notRequestPrincipals", Values),
    ("namespaces", Values),
    ("notNamespaces", Values),
    ("serviceAccounts", Values),
    ("notServiceAccounts", Values),
    ("ipBlocks", Values),
    ("notIpBlocks", Values),
    ("remoteIpBlocks", Values),
    ("notRemoteIpBlocks", Values),
];

const OPERATION: Fields = &[
    ("hosts", Values),
    ("notHosts", Values),
    ("ports", Values),
    ("notPorts", Values),
    ("methods", Values),
    ("notMethods", Values),
    ("paths", Values),
    ("notPaths", Values),
];

const TRAFFIC_POLICY: Fields = &[
    ("tls", Map(TLS)),
    (
        "portLevelSettings",
        List(&[("port", Map(&[("number", Value)])), ("tls", Map(TLS))]),
    ),
];

const SUBSET: Fields = &[
    ("name", Value),
    ("labels", Free),
    ("trafficPolicy", Map(TRAFFIC_POLICY)),
];

const TLS: Fields = &[
    ("mode", Value),
    ("clientCertificate", Value),
    ("privateKey", Value),
    ("caCertificates", Value),
    ("credentialName", Value),
    ("subjectAltNames", Values),
    ("sni", Value),
    ("insecureSkipVerify", Value),
];
