//! Envoy's configuration for a sidecar, after what Istio generates (its `listener_inbound.go`,
//! `filterchain_options.go`, `cluster_tls.go` and `authn/utils`).

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::pki::LeafFiles;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// What a port's protocol is declared to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    /// Decoded, and told whom the client's certificate is of (`X-Forwarded-Client-Cert`).
    Http,
}

/// `PeerAuthentication`'s modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Strict,
    Permissive,
}

/// The URI names that a peer's certificate may have.
#[derive(Clone, Debug)]
pub enum Accepts {
    /// As servers check their clients: anyone of this trust domain.
    TrustDomain(String),
    /// As clients check their servers: one SPIFFE ID.
    Exactly(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// What Istio's FIPS builds are limited to, and older clients.
    V1_2,
    V1_3,
}

/// What both roles have.
#[derive(Clone, Debug)]
pub struct Tls {
    pub files: LeafFiles,
    pub accepts: Accepts,
    pub newest: TlsVersion,
    /// `meshMTLS.ecdhCurves`; empty for Envoy's own choice.
    pub curves: Vec<&'static str>,
}

/// The sidecar of a server: TLS on `port` (Istio: 15006, for every port), the application behind it.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub port: u16,
    /// Of an application on the loopback address.
    pub application: u16,
    pub protocol: Protocol,
    pub mode: Mode,
    pub tls: Tls,
    /// The only SPIFFE ID that an `AuthorizationPolicy` allows.
    pub allowed: Option<String>,
}

/// The sidecar of a client: what arrives on [`Outbound::PORT`] goes to one server over TLS.
#[derive(Clone, Debug)]
pub struct Outbound {
    pub server: SocketAddr,
    /// The SNI: `outbound_.PORT_._.HOST`.
    pub server_name: String,
    pub protocol: Protocol,
    pub tls: Tls,
}

impl Tls {
    /// Who shows `files` and accepts these peers, with Istio's defaults.
    #[must_use]
    pub fn new(files: LeafFiles, accepts: Accepts) -> Self {
        Self {
            files,
            accepts,
            newest: TlsVersion::V1_3,
            curves: Vec::new(),
        }
    }

    fn common(&self, alpn: &[&str]) -> Value {
        let newest = match self.newest {
            TlsVersion::V1_2 => "TLSv1_2",
            TlsVersion::V1_3 => "TLSv1_3",
        };
        let matcher = match &self.accepts {
            Accepts::TrustDomain(domain) => json!({"prefix": format!("spiffe://{domain}/")}),
            Accepts::Exactly(id) => json!({"exact": id}),
        };
        json!({
            "alpn_protocols": alpn,
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": newest,
                "ecdh_curves": self.curves,
                "cipher_suites": [
                    "ECDHE-ECDSA-AES256-GCM-SHA384",
                    "ECDHE-RSA-AES256-GCM-SHA384",
                    "ECDHE-ECDSA-AES128-GCM-SHA256",
                    "ECDHE-RSA-AES128-GCM-SHA256",
                    "AES256-GCM-SHA384",
                    "AES128-GCM-SHA256",
                ],
            },
            "tls_certificates": [{
                "certificate_chain": {"filename": self.files.certificate},
                "private_key": {"filename": self.files.key},
            }],
            "validation_context": {
                "trusted_ca": {"filename": self.files.root},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": matcher}],
            },
        })
    }
}

impl Inbound {
    pub(super) fn configuration(&self) -> Value {
        let application = SocketAddr::from(([127, 0, 0, 1], self.application));
        let mut listener = listener("virtualInbound", self.port, &self.chains());
        listener["listener_filters"] = json!([typed(
            "envoy.filters.listener.tls_inspector",
            "filters.listener.tls_inspector.v3.TlsInspector",
            json!({}),
        )]);
        document(&listener, &cluster(&self.cluster(), application))
    }

    fn cluster(&self) -> String {
        format!("inbound|{}||", self.port)
    }

    /// As `inboundStrict…FilterChainMatchOptions` and `inboundPermissive…FilterChainMatchWithMxcOptions…`.
    fn chains(&self) -> Value {
        let mesh = [
            "istio",
            "istio-peer-exchange",
            "istio-http/1.0",
            "istio-http/1.1",
            "istio-h2",
        ];
        let own = self.filters(self.protocol);
        let mutual = |offers: &[&str]| {
            json!({
                "filter_chain_match": {"transport_protocol": "tls", "application_protocols": offers},
                "transport_socket": self.transport_socket(),
                "filters": own,
            })
        };
        let plain =
            json!({"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": own});
        let other_tls = json!({
            "filter_chain_match": {"transport_protocol": "tls"},
            "filters": self.filters(Protocol::Tcp),
        });
        match (self.mode, self.protocol) {
            (Mode::Strict, _) => json!([mutual(&[])]),
            (Mode::Permissive, Protocol::Tcp) => json!([mutual(&mesh), plain, other_tls]),
            (Mode::Permissive, Protocol::Http) => json!([mutual(&mesh), plain]),
        }
    }

    fn transport_socket(&self) -> Value {
        // Never `istio`: what is selected would be taken for the protocol inside.
        let alpn: &[_] = match self.protocol {
            Protocol::Tcp => &["istio-peer-exchange", "h2", "http/1.1"],
            Protocol::Http => &["h2", "http/1.1"],
        };
        typed(
            "envoy.transport_sockets.tls",
            "transport_sockets.tls.v3.DownstreamTlsContext",
            json!({
                "common_tls_context": self.tls.common(alpn),
                "require_client_certificate": true,
            }),
        )
    }

    fn filters(&self, protocol: Protocol) -> Value {
        let mut filters = Vec::new();
        if let Some(id) = &self.allowed {
            filters.push(authorization(id));
        }
        filters.push(match protocol {
            Protocol::Tcp => tcp_proxy(&self.cluster()),
            Protocol::Http => http(&self.cluster()),
        });
        json!(filters)
    }
}

impl Outbound {
    /// Where the pod's applications reach it.
    pub const PORT: u16 = 15001;

    pub(super) fn configuration(&self) -> Value {
        let name = format!("outbound|{}||", self.server.port());
        let filter = match self.protocol {
            Protocol::Tcp => tcp_proxy(&name),
            Protocol::Http => http(&name),
        };
        let chains = json!([{"filters": [filter]}]);
        let mut cluster = cluster(&name, self.server);
        cluster["transport_socket"] = self.transport_socket();
        document(&listener("virtualOutbound", Self::PORT, &chains), &cluster)
    }

    fn transport_socket(&self) -> Value {
        // HTTP's are those of Istio's filter `istio.alpn`.
        let alpn: &[_] = match self.protocol {
            Protocol::Tcp => &["istio-peer-exchange", "istio"],
            Protocol::Http => &["istio-http/1.1", "istio", "http/1.1"],
        };
        typed(
            "envoy.transport_sockets.tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            json!({"common_tls_context": self.tls.common(alpn), "sni": self.server_name}),
        )
    }
}

fn document(listener: &Value, cluster: &Value) -> Value {
    json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
}

fn listener(name: &str, port: u16, filter_chains: &Value) -> Value {
    let address = json!({"address": "::", "port_value": port, "ipv4_compat": true});
    json!({
        "name": name,
        "address": {"socket_address": address},
        "filter_chains": filter_chains,
    })
}

fn cluster(name: &str, to: SocketAddr) -> Value {
    let address = json!({"address": to.ip().to_string(), "port_value": to.port()});
    let endpoint = json!({"endpoint": {"address": {"socket_address": address}}});
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    })
}

fn tcp_proxy(cluster: &str) -> Value {
    typed(
        "envoy.filters.network.tcp_proxy",
        "filters.network.tcp_proxy.v3.TcpProxy",
        json!({"stat_prefix": cluster, "cluster": cluster}),
    )
}

fn http(cluster: &str) -> Value {
    let router = typed(
        "envoy.filters.http.router",
        "filters.http.router.v3.Router",
        json!({}),
    );
    let all = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
    typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": cluster,
            "forward_client_cert_details": "APPEND_FORWARD",
            "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
            "http_filters": [router],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [all]}]},
        }),
    )
}

/// What Istio makes of an `AuthorizationPolicy` on TCP.
fn authorization(id: &str) -> Value {
    let principal = json!({"authenticated": {"principal_name": {"exact": id}}});
    let policy = json!({"permissions": [{"any": true}], "principals": [principal]});
    typed(
        "envoy.filters.network.rbac",
        "filters.network.rbac.v3.RBAC",
        json!({
            "stat_prefix": "tcp.",
            "rules": {"action": "ALLOW", "policies": {"allowed": policy}},
        }),
    )
}

/// An extension: its name, and its configuration with the type of that.
fn typed(name: &str, kind: &str, mut configuration: Value) -> Value {
    configuration["@type"] = format!("{TYPES}.{kind}").into();
    json!({"name": name, "typed_config": configuration})
}
