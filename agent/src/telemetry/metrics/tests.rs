use std::collections::HashSet;

use super::*;
use crate::telemetry::{PeerLabels, Reporter, ResponseFlags, Security, ServiceLabels};

fn labels() -> TcpLabels {
    TcpLabels {
        reporter: Reporter::Destination,
        source: PeerLabels::unknown(),
        destination: PeerLabels::unknown(),
        service: ServiceLabels::unknown(),
        response_flags: ResponseFlags::None,
        security: Security::MutualTls,
    }
}

/// The lines of a family, without comments.
fn lines<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let named = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    text.lines().filter(named).collect()
}

#[test]
fn families_are_written_once_each_with_help_and_type() {
    let metrics = Metrics::new().unwrap();
    metrics.tcp(&labels()).opened();
    let text = metrics.render();
    let types: Vec<_> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "))
        .collect();
    let helps = text.lines().filter(|l| l.starts_with("# HELP ")).count();
    assert_eq!(helps, types.len());
    assert_eq!(types.iter().collect::<HashSet<_>>().len(), types.len());
    for family in &types {
        let (name, kind) = family.split_once(' ').unwrap();
        assert!(
            name.starts_with("sealane_") || name.starts_with("istio_"),
            "{name}"
        );
        assert_eq!(kind == "counter", name.ends_with("_total"), "{family}");
        assert_eq!(
            kind == "histogram",
            name.ends_with("duration_seconds"),
            "{family}"
        );
    }
}

#[test]
fn series_exist_before_anything_happened() {
    let text = Metrics::new().unwrap().render();
    assert_eq!(
        lines(&text, "sealane_handshakes_total").len(),
        2 * (1 + HandshakeFailure::ALL.len())
    );
    assert_eq!(
        lines(&text, "sealane_connections_refused_total").len(),
        2 * RefusalReason::ALL.len()
    );
    assert!(text.contains("sealane_policy_cuts_total{reason=\"became_strict\"} 0"));
    assert!(text.contains("sealane_policy_generation 0"));
    assert!(text.contains("sealane_build_info{version="));
}

#[test]
fn what_happens_is_counted() {
    let metrics = Metrics::new().unwrap();
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    let active = metrics.connection_active(Direction::Inbound);
    metrics.handshake_succeeded(Side::Server, Duration::from_millis(3));
    metrics.handshake_failed(Side::Client, HandshakeFailure::WrongIdentity);
    metrics.connection_refused(Direction::Inbound, RefusalReason::PlaintextInStrict);
    metrics.certificate_issued(&id, UNIX_EPOCH + Duration::from_secs(77));
    metrics.policy_loaded(4, UNIX_EPOCH + Duration::from_secs(9));
    metrics.set_policy_errors(false, true);
    let text = metrics.render();
    for line in [
        "sealane_connections_active{direction=\"inbound\"} 1",
        "sealane_handshakes_total{reason=\"none\",result=\"ok\",side=\"server\"} 1",
        "sealane_handshakes_total{reason=\"wrong_identity\",result=\"error\",side=\"client\"} 1",
        "sealane_handshake_duration_seconds_bucket{side=\"server\",le=\"0.005\"} 1",
        "sealane_connections_refused_total{direction=\"inbound\",reason=\"plaintext_in_strict\"} 1",
        "sealane_certificate_expiry_timestamp_seconds{identity=\"spiffe://cluster.local/ns/shop/sa/web\"} 77",
        "sealane_policy_generation 4",
        "sealane_policy_last_load_timestamp_seconds 9",
        "sealane_policy_load_errors{scope=\"mesh\"} 0",
        "sealane_policy_load_errors{scope=\"namespaces\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    drop(active);
    metrics.certificate_dropped(&id);
    let text = metrics.render();
    assert!(text.contains("sealane_connections_active{direction=\"inbound\"} 0"));
    assert!(!text.contains("ns/shop/sa/web"));
}
