//! What can be wrong within one document.

use super::FieldPath;

/// A field that makes no sense, or asks for what nobody would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub field: FieldPath,
    pub reason: Reason,
}

impl Invalid {
    #[must_use]
    pub fn new(field: FieldPath, reason: Reason) -> Self {
        Self { field, reason }
    }
}

/// Why. Reads after the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("{0:?} is not a port number from 1 to 65535")]
    Port(String),
    #[error("`{key}: {value}`: empty keys and `*` are not supported")]
    Label { key: String, value: String },
    #[error("needs spec.selector.matchLabels: ports are of workloads, not of a whole namespace")]
    PortsWithoutSelector,
    #[error("{count} ports, at most {limit} are supported")]
    TooManyPorts { count: usize, limit: usize },
    #[error(
        "needs HTTP, and Sealane decides on connections, without looking into them: remove it, or \
         enforce it in the application or a gateway"
    )]
    NeedsHttp,
    #[error(
        "needs HTTP, whose X-Forwarded-For says which address is meant: use `{0}`, the address that connections come \
         from"
    )]
    ForwardedAddress(&'static str),
    #[error("is for gateways and waypoints, which Sealane doesn't have: use spec.selector")]
    TargetRef,
    #[error(
        "CUSTOM is not supported, for it asks another service about requests of HTTP: ALLOW, DENY and AUDIT are"
    )]
    Custom,
    #[error("is only for action CUSTOM, which is not supported")]
    Provider,
    #[error(
        "DENY without rules never denies anything: add the empty rule `{{}}` to deny everything"
    )]
    DenyNothing,
    #[error("is missing: {0}")]
    Absent(&'static str),
    #[error("is missing: conditions that Istio has for connections are {KEYS}")]
    NoKey,
    #[error("must not be empty: leave it out, or say what it is to match")]
    Empty,
    #[error("must not be empty, and can't be left out")]
    Mandatory,
    #[error(
        "{0:?}: `*` matches anything; at the start or the end of a value it stands for the rest"
    )]
    Wildcard(String),
    #[error("{0:?} is not an IP address or a range such as 10.0.0.0/8")]
    IpBlock(String),
    #[error("{0:?} is not SERVICE-ACCOUNT or NAMESPACE/SERVICE-ACCOUNT")]
    ServiceAccount(String),
    #[error("can't be combined with principals or namespaces")]
    ServiceAccountCombined,
    #[error("{0:?} is not a condition that Istio has for connections: {KEYS}")]
    Condition(String),
    #[error("needs `values` or `notValues`")]
    NoValues,
    #[error(
        "{0:?} is not a host: write a service's name, its whole host name, or `*.` and the end of one"
    )]
    Host(String),
    #[error(
        "{0:?} is not a host outside: write its whole name (`*.` and an end only with resolution NONE)"
    )]
    OutsideHost(String),
    #[error(
        "{0:?} is none of spec.hosts, and no part of one: connections to other hosts never come here"
    )]
    NameOfOthers(String),
    #[error("{0:?} is not an address: ranges and, with resolution STATIC, names are not supported")]
    Address(String),
    #[error("says nowhere where connections go: write http, tls or tcp")]
    NoRoutes,
    #[error("is for HTTPS and TLS; a server in plaintext has `httpsRedirect: true` at most")]
    PlainServer,
    #[error("is traffic management, which Sealane leaves to others: remove it")]
    TrafficManagement,
    #[error("is needed for {0}")]
    NeededFor(&'static str),
    #[error("is for MUTUAL only: with SIMPLE the client shows no certificate")]
    OnlyMutual,
    #[error(
        "Secrets are not read: name files of the node with clientCertificate, privateKey and caCertificates"
    )]
    Secret,
    #[error("revocation lists are not supported: remove it")]
    RevocationList,
    #[error(
        "would take anybody for the server: name its authority with caCertificates, and its names with \
         subjectAltNames"
    )]
    Unverified,
    #[error(
        "{0:?} is not a name of a certificate: a DNS name, an address, or a URI such as spiffe://DOMAIN/PATH, each \
         without `*`"
    )]
    AlternativeName(String),
    #[error("{0:?} is not a DNS name")]
    ServerName(String),
    #[error("{0:?} is there twice")]
    Twice(String),
    #[error("{value:?} is not one of {known}")]
    Unknown { value: String, known: &'static str },
    #[error("is not supported: {0}")]
    Instead(&'static str),
    #[error("is for SIMPLE and MUTUAL only: the mesh's own certificates come from its CA")]
    OnlyOrigination,
    #[error("{0:?} is neither a namespace nor `.` (this one) nor `*` (all of them)")]
    ExportTo(String),
    #[error(
        "with a workloadSelector a rule is for its own namespace only: write `.`, or leave it out"
    )]
    ExportSelected,
    #[error("`*` is everybody: leave out the others, or this")]
    ExportToAll,
    #[error("`~` is nobody: leave out the others, or this")]
    ExportToNobody,
    #[error(
        "must be `default`: others were for single services; write a PeerAuthentication instead"
    )]
    LegacyName,
    #[error(
        "is about tokens in requests of HTTP, and Sealane decides on connections: remove it, and let the application or \
         a gateway check tokens"
    )]
    Token,
    #[error(
        "has no equivalent: write a PeerAuthentication (security.istio.io/v1) instead, with a \
         selector and portLevelMtls where it is for some workloads or ports"
    )]
    Legacy,
}

/// Conditions of layer 4.
const KEYS: &str = "source.ip, source.namespace, source.principal, source.serviceAccount, \
                    destination.ip, destination.port, connection.sni";
