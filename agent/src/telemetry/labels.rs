//! Values of metric labels. Every set is closed: no peer, file or error can add a series.

use std::fmt;

/// An enum whose variants are label values.
macro_rules! label_values {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As the metric spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

label_values! {
    /// Why the agent got no certificate.
    IssueFailure {
        /// The embedded CA can't sign.
        Signing = "signing",
        /// No connection to the CA service, or it broke off.
        Unreachable = "unreachable",
        /// Its server certificate is not what it should be.
        Tls = "tls",
        /// Our own token can't be read.
        Token = "token",
        /// It does not believe our token.
        Unauthenticated = "unauthenticated",
        /// It knows us, but we may not have this identity.
        Denied = "denied",
        /// We ask too often.
        Rate = "rate",
        /// It refused the request for another reason.
        Refused = "refused",
        /// It took too long.
        Timeout = "timeout",
        /// What it sent can't be used.
        Answer = "answer",
    }

    /// Why the CA service signs nothing.
    CaRefusal {
        NoCredentials = "no_credentials",
        TokenInvalid = "token_invalid",
        TokenExpired = "token_expired",
        TokenAudience = "token_audience",
        TokenUnreviewed = "token_unreviewed",
        TokenIssuer = "token_issuer",
        /// Not of this trust domain, or not an identity at all.
        Identity = "identity",
        NotNodeAccount = "not_node_account",
        NotOnNode = "not_on_node",
        /// Asked by certificate, and no pod has the identity any more.
        Gone = "gone",
        /// Asked by a certificate that was revoked.
        Revoked = "revoked",
        Csr = "csr",
        Replayed = "replayed",
        /// Too long, or no message at all.
        Malformed = "malformed",
        Rate = "rate",
        Signing = "signing",
    }

    /// Why a connection to the CA is closed at once.
    CaCrowding {
        /// Too many from one source.
        Source = "source",
        All = "all",
    }

    /// The role of this node's pod in a handshake.
    Side {
        Client = "client",
        Server = "server",
    }

    /// Seen from this node's pod.
    Direction {
        Inbound = "inbound",
        Outbound = "outbound",
    }

    /// Which end reports, in Istio's words.
    Reporter {
        Source = "source",
        Destination = "destination",
    }

    /// `connection_security_policy`. Istio's sidecars say `unknown` at the source, where they can't know;
    /// Sealane knows at both ends.
    Security {
        MutualTls = "mutual_tls",
        /// With a server that is not of the mesh. Not in metrics, where Istio has no word for it.
        Tls = "tls",
        /// In clear, and the kubelet's. Not in metrics either.
        Probe = "probe",
        None = "none",
        /// What Istio's ambient mode and Kiali's graphs take plaintext for.
        Unknown = "unknown",
    }

    /// `response_flags` (Envoy's access log documentation, `%RESPONSE_FLAGS%`).
    ResponseFlags {
        /// Nothing went wrong.
        None = "-",
        UpstreamConnectionFailure = "UF",
        NoHealthyUpstream = "UH",
        UpstreamConnectionTermination = "UC",
        DownstreamConnectionTermination = "DC",
        NoRouteFound = "NR",
    }

    /// How the bytes of a connection move.
    Transport {
        /// Kernel TLS in both directions; bytes never reach userspace.
        KtlsSplice = "ktls_splice",
        /// Kernel TLS in both directions, copied through a buffer.
        KtlsCopy = "ktls_copy",
        /// Kernel TLS towards the peer, userspace TLS from it.
        KtlsTransmit = "ktls_transmit",
        /// TLS in userspace.
        UserspaceTls = "userspace_tls",
        /// Plaintext, as policy allows.
        Copy = "copy",
    }

    /// Why a handshake failed.
    HandshakeFailure {
        /// Not done within `--handshake-timeout`.
        Timeout = "timeout",
        /// The peer closed or reset the connection.
        PeerClosed = "peer_closed",
        /// The peer sent an alert.
        PeerAlert = "peer_alert",
        /// No chain from the peer's certificate to a root of its trust domain.
        Untrusted = "untrusted",
        /// Expired, or not valid yet.
        NotInValidity = "not_in_validity",
        /// A trusted certificate, but of another identity than the one expected.
        WrongIdentity = "wrong_identity",
        /// The peer sent no certificate.
        NoCertificate = "no_certificate",
        /// No valid SVID for the pod of this node.
        NoSvid = "no_svid",
        /// The peer doesn't speak TLS as it should.
        Protocol = "protocol",
        /// No common version, cipher suite or group.
        Incompatible = "incompatible",
        Io = "io",
    }

    /// Why a connection was refused.
    RefusalReason {
        /// STRICT, and the client did not speak mutual TLS.
        PlaintextInStrict = "plaintext_in_strict",
        /// A DENY policy matched.
        AuthorizationDenied = "authorization_denied",
        /// There are ALLOW policies, and none matched.
        AuthorizationNotAllowed = "authorization_not_allowed",
        /// A DestinationRule asks the client for something else than the server takes.
        DestinationRuleConflict = "destination_rule_conflict",
        /// TLS of another kind than the mesh's at a STRICT port.
        ForeignTls = "foreign_tls",
        HandshakeFailed = "handshake_failed",
        /// The kernel did not take the keys.
        OffloadFailed = "offload_failed",
        /// The pod has no valid SVID.
        NoSvid = "no_svid",
        /// The certificates that a DestinationRule names can't be used.
        NoCertificate = "no_certificate",
        /// Where the connection was meant to go isn't known.
        NoOriginalDestination = "no_original_destination",
        /// No Gateway or VirtualService is for what the client asks for.
        NoRoute = "no_route",
        /// The service has no ready endpoint of the address family.
        NoEndpoint = "no_endpoint",
        AmbiguousHost = "ambiguous_host",
        /// The destination refused, or did not answer.
        Unreachable = "unreachable",
        /// No policy has been loaded so far.
        NoPolicy = "no_policy",
        /// Too many connections at once.
        Limit = "limit",
        Draining = "draining",
    }

    /// Whether a connection that policy refuses, on a port where the kubelet probes the pod, is its own.
    ProbeResult {
        /// It is, and was let through.
        Passed = "passed",
        /// No open socket of this node is at its other end.
        NoSocket = "no_socket",
        /// Another process of this node has made it.
        OtherProcess = "other_process",
        /// Nobody is taken for the kubelet.
        NoKubelet = "no_kubelet",
        Error = "error",
    }

    /// Why an established connection was cut.
    CutReason {
        /// Plaintext, and the port has become STRICT.
        BecameStrict = "became_strict",
        /// Authorization doesn't allow it any more.
        Unauthorized = "unauthorized",
        /// The peer's certificate was revoked, or its trust domain is not trusted any more.
        Untrusted = "untrusted",
        /// No Gateway or VirtualService leads it where it goes any more.
        RouteGone = "route_gone",
        /// The Gateway doesn't take its version or cipher suite of TLS any more.
        TlsSettings = "tls_settings",
        /// The pod left the mesh, or is gone.
        WorkloadGone = "workload_gone",
        /// Open beyond `--drain` while the agent stops.
        DrainDeadline = "drain_deadline",
    }

    /// Why a pod couldn't be enrolled.
    EnrolmentFailure {
        /// `sealane.dev/netns` can't be opened, or isn't a network namespace.
        Netns = "netns",
        /// `sealane.dev/cgroup` can't be opened, or lies outside `--cgroup-root`.
        Cgroup = "cgroup",
        /// A listener in the pod's network namespace can't be opened.
        Listen = "listen",
        /// A program can't be attached.
        Attach = "attach",
        /// A map refused an entry.
        Map = "map",
    }

    /// What the programs in the kernel tell.
    CaptureEvent {
        MapFull = "map_full",
        LeaseLapsed = "lease_lapsed",
        NoListener = "no_listener",
        ListenChanged = "listen_changed",
        WentDirect = "went_direct",
        UnknownPod = "unknown_pod",
        /// Written by newer programs than this agent knows.
        Unknown = "unknown",
        /// The ring buffer overflowed: events are missing.
        Lost = "lost",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn values_are_distinct_and_fit_for_labels() {
        let texts: Vec<_> = RefusalReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len());
        let plain = |t: &str| t.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(texts.iter().all(|t| plain(t)));
    }
}
