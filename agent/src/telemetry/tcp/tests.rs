use super::*;
use crate::workload::{ObjectName, Pod, TelemetryNames};

fn peer(workload: &str, namespace: &str) -> PeerLabels {
    PeerLabels {
        workload: workload.to_owned(),
        namespace: namespace.to_owned(),
        ..PeerLabels::unknown()
    }
}

fn labels(source: PeerLabels) -> TcpLabels {
    TcpLabels {
        reporter: Reporter::Source,
        source,
        destination: PeerLabels::unknown(),
        service: ServiceLabels::unknown(),
        response_flags: ResponseFlags::None,
        security: Security::MutualTls,
    }
}

fn rendered(table: &TcpTable) -> String {
    let mut text = String::new();
    table.render(&mut text);
    text
}

#[test]
fn labels_are_exactly_istios() {
    let labels = labels(PeerLabels::unknown());
    let mut names: Vec<_> = labels.pairs().iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "connection_security_policy",
            "destination_app",
            "destination_canonical_revision",
            "destination_canonical_service",
            "destination_cluster",
            "destination_principal",
            "destination_service",
            "destination_service_name",
            "destination_service_namespace",
            "destination_version",
            "destination_workload",
            "destination_workload_namespace",
            "reporter",
            "request_protocol",
            "response_flags",
            "source_app",
            "source_canonical_revision",
            "source_canonical_service",
            "source_cluster",
            "source_principal",
            "source_version",
            "source_workload",
            "source_workload_namespace",
        ]
    );
}

#[test]
fn counters_of_one_series_are_shared_and_written() {
    let table = TcpTable::new(8);
    let labels = labels(peer("web", "shop"));
    let (first, _) = table.series(&labels);
    first.opened();
    first.sent(700);
    let (second, overflowed) = table.series(&labels);
    second.received(3);
    second.closed();
    assert!(!overflowed);
    let text = rendered(&table);
    for (name, value) in [
        ("istio_tcp_connections_opened_total", 1),
        ("istio_tcp_connections_closed_total", 1),
        ("istio_tcp_sent_bytes_total", 700),
        ("istio_tcp_received_bytes_total", 3),
    ] {
        let line = text
            .lines()
            .find(|l| l.starts_with(&format!("{name}{{")))
            .unwrap();
        assert!(line.ends_with(&format!("}} {value}")), "{line}");
        assert!(
            line.contains("connection_security_policy=\"mutual_tls\""),
            "{line}"
        );
        assert!(line.contains("source_workload=\"web\""), "{line}");
    }
}

#[test]
fn names_that_read_alike_when_joined_stay_apart() {
    let table = TcpTable::new(8);
    table.series(&labels(peer("ab", "c"))).0.opened();
    table.series(&labels(peer("a", "bc"))).0.opened();
    assert_eq!(rendered(&table).matches("opened_total{").count(), 2);
}

#[test]
fn values_are_escaped() {
    let text = labels(peer("a\"b\\c\nd", "n")).rendered();
    assert!(text.contains(r#"source_workload="a\"b\\c\nd","#), "{text}");
}

#[test]
fn what_finds_no_room_is_counted_together() {
    let table = TcpTable::new(2);
    let held: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| table.series(&labels(peer(name, "n"))))
        .into();
    assert_eq!(
        held.iter().map(|(_, o)| *o).collect::<Vec<_>>(),
        [false, false, true, true]
    );
    for (series, _) in &held {
        series.opened();
    }
    let text = rendered(&table);
    let other = text
        .lines()
        .find(|l| l.contains("source_workload=\"other\""))
        .unwrap();
    assert!(other.ends_with(" 2"), "{other}");
}

#[test]
fn series_go_when_nobody_needs_them() {
    let table = TcpTable::new(8);
    let (used, _) = table.series(&labels(peer("used", "n")));
    drop(table.series(&labels(peer("gone", "n"))));
    drop(table.series(&labels(peer("kept", "n"))));
    table.retain(|labels| labels.source.workload == "kept");
    let text = rendered(&table);
    assert!(text.contains("\"used\"") && text.contains("\"kept\"") && !text.contains("\"gone\""));
    drop(used);
    table.retain(|labels| labels.source.workload == "kept");
    assert!(!rendered(&table).contains("\"used\""));
}

#[test]
fn a_workload_without_a_proven_certificate_has_no_principal() {
    let identity: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    let mut pod = Pod::named(ObjectName::new("shop", "web-7d4b9-x2x"));
    Arc::make_mut(&mut pod.template).telemetry = Arc::new(TelemetryNames {
        workload: "web".into(),
        canonical_service: "web".into(),
        canonical_revision: "v1".into(),
        app: "web".into(),
        version: "v1".into(),
    });
    let workload = Workload {
        identity: identity.clone(),
        pod: Arc::new(pod),
        enrolled: true,
    };
    let unproven = PeerLabels::of(&workload, None);
    assert_eq!(
        (unproven.principal.as_str(), unproven.workload.as_str()),
        ("unknown", "web")
    );
    let proven = PeerLabels::of(&workload, Some(&identity));
    assert_eq!(proven.principal, "spiffe://cluster.local/ns/shop/sa/web");
}
