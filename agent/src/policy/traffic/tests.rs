//! What documents are refused, field by field, and how routes are chosen.

use super::*;
use crate::policy::{DocumentKind, testing::workload};

type Spec<'a> = &'a str;

fn document(kind: DocumentKind) -> DocumentRef {
    DocumentRef::new(kind, "shop", "d")
}

fn routes(spec: Spec<'_>) -> Result<VirtualService, Vec<String>> {
    let spec = serde_json::from_str(spec).unwrap();
    VirtualService::new(document(DocumentKind::VirtualService), None, spec)
        .map_err(|errors| fields(&errors))
}

fn entry(spec: Spec<'_>) -> Result<ServiceEntry, Vec<String>> {
    let spec = serde_json::from_str(spec).unwrap();
    ServiceEntry::new(document(DocumentKind::ServiceEntry), None, spec)
        .map_err(|errors| fields(&errors))
}

fn gateway(spec: Spec<'_>) -> Result<Gateway, Vec<String>> {
    let spec = serde_json::from_str(spec).unwrap();
    Gateway::new(document(DocumentKind::Gateway), None, spec).map_err(|errors| fields(&errors))
}

fn fields(errors: &[crate::policy::Invalid]) -> Vec<String> {
    errors.iter().map(|e| e.field.to_string()).collect()
}

#[test]
fn what_a_virtual_service_must_not_say() {
    let good = r#"{"hosts": ["a"], "tcp": [{"route": [{"destination": {"host": "b"}}]}]}"#;
    routes(good).unwrap();
    let to = r#""route": [{"destination": {"host": "b"}}]"#;
    for (spec, field) in [
        ("{}".to_owned(), "spec.hosts"),
        (r#"{"hosts": ["a"]}"#.to_owned(), "spec"),
        (
            format!(r#"{{"hosts": ["*a"], "tcp": [{{{to}}}]}}"#),
            "spec.hosts[0]",
        ),
        (
            r#"{"hosts": ["a"], "tcp": [{}]}"#.to_owned(),
            "spec.tcp[0].route",
        ),
        (
            format!(r#"{{"hosts": ["a"], "tls": [{{"match": [{{}}], {to}}}]}}"#),
            "spec.tls[0].match[0].sniHosts",
        ),
        (
            format!(r#"{{"hosts": ["a"], "tls": [{{{to}}}]}}"#),
            "spec.tls[0].match",
        ),
        (
            format!(r#"{{"hosts": ["a"], "tls": [{{"match": [], {to}}}]}}"#),
            "spec.tls[0].match",
        ),
        (
            format!(
                r#"{{"hosts": ["*.a"], "tls": [{{"match": [{{"sniHosts": ["b.a", "10.0.0.1", "*.c.a", "*"]}}], {to}}}]}}"#
            ),
            "spec.tls[0].match[0].sniHosts[3]",
        ),
        (
            format!(r#"{{"hosts": ["a"], "tcp": [{{"match": [{{"port": 70000}}], {to}}}]}}"#),
            "spec.tcp[0].match[0].port",
        ),
        (
            r#"{"hosts": ["a"], "tcp": [{"route": [{"destination": {"host": "*.b"}}]}]}"#
                .to_owned(),
            "spec.tcp[0].route[0].destination.host",
        ),
        (
            format!(r#"{{"hosts": ["a"], "exportTo": ["~"], "tcp": [{{{to}}}]}}"#),
            "spec.exportTo[0]",
        ),
    ] {
        assert_eq!(routes(&spec).unwrap_err(), [field], "{spec}");
    }
}

#[test]
fn what_a_service_entry_must_not_say() {
    let with = |more: &str| {
        format!(r#"{{"hosts": ["a.example"], "ports": [{{"number": 443, "name": "tls"}}] {more}}}"#)
    };
    entry(&with("")).unwrap();
    for (spec, field) in [
        (r#"{"ports": [{"number": 1, "name": "p"}]}"#.to_owned(), "spec.hosts"),
        (r#"{"hosts": ["a.example"]}"#.to_owned(), "spec.ports"),
        (r#"{"hosts": ["a"], "ports": [{"number": 1, "name": "p"}]}"#.to_owned(), "spec.hosts[0]"),
        (
            r#"{"hosts": ["*.a.example"], "resolution": "DNS", "ports": [{"number": 1, "name": "p"}]}"#.to_owned(),
            "spec.hosts[0]",
        ),
        (with(r#", "addresses": ["10.0.0.0/8"]"#), "spec.addresses[0]"),
        (with(r#", "workloadSelector": {}"#), "spec.workloadSelector"),
        (
            with(r#", "resolution": "STATIC", "endpoints": [{"address": "b.example"}]"#),
            "spec.endpoints[0].address",
        ),
        (with(r#", "endpoints": [{"address": "10.0.0.1"}]"#), "spec.endpoints"),
        (
            with(r#", "resolution": "STATIC", "endpoints": [{"address": "10.0.0.1", "ports": {"tsl": 8443}}]"#),
            "spec.endpoints[0].ports.tsl",
        ),
        (
            r#"{"hosts": ["a.example"], "ports": [{"number": 1, "name": "p", "protocol": "QUIC"}]}"#.to_owned(),
            "spec.ports[0].protocol",
        ),
    ] {
        assert_eq!(entry(&spec).unwrap_err(), [field], "{spec}");
    }
}

/// Istio: `validateExportTo`.
#[test]
fn an_entry_may_be_for_nobody() {
    let with = |to: &str| {
        let spec = format!(
            r#"{{"hosts": ["a.example"], "resolution": "DNS", "exportTo": [{to}], "ports": [{{"number": 443, "name": "tls"}}]}}"#
        );
        entry(&spec)
    };
    let everybody = with(r#""*""#).unwrap();
    assert_eq!(everybody.services(&Addresses::new()).count(), 1);
    assert_eq!(everybody.unresolved().count(), 1);
    let nobody = with(r#""~""#).unwrap();
    assert_eq!(nobody.services(&Addresses::new()).count(), 0);
    assert_eq!(nobody.unresolved().count(), 0);
    assert_eq!(with(r#"".", "~""#).unwrap_err(), ["spec.exportTo[1]"]);
}

#[test]
fn what_a_gateway_must_not_say() {
    let server = |protocol: &str, more: &str| {
        format!(
            r#"{{"servers": [{{"port": {{"number": 443, "name": "p", "protocol": "{protocol}"}}, "hosts": ["*"] {more}}}]}}"#
        )
    };
    for mode in ["MUTUAL", "SIMPLE", "OPTIONAL_MUTUAL"] {
        let tls = format!(r#", "tls": {{"mode": "{mode}", "credentialName": "c"}}"#);
        gateway(&server("HTTPS", &tls)).unwrap();
    }
    for (spec, field) in [
        ("{}".to_owned(), "spec.servers"),
        (server("HTTPS", ""), "spec.servers[0].tls"),
        (
            server("HTTP", r#", "tls": {"mode": "SIMPLE"}"#),
            "spec.servers[0].tls",
        ),
        (
            server("TLS", r#", "tls": {"mode": "ISTIO_MUTUAL"}"#),
            "spec.servers[0].tls.mode",
        ),
        (
            server(
                "TLS",
                r#", "tls": {"mode": "PASSTHROUGH", "credentialName": "c"}"#,
            ),
            "spec.servers[0].tls.credentialName",
        ),
        (
            server(
                "TLS",
                r#", "tls": {"mode": "SIMPLE", "credentialName": "../c"}"#,
            ),
            "spec.servers[0].tls.credentialName",
        ),
        (
            server(
                "TLS",
                r#", "tls": {"mode": "SIMPLE", "credentialName": "c", "minProtocolVersion": "TLSV1_1"}"#,
            ),
            "spec.servers[0].tls.minProtocolVersion",
        ),
        (
            server(
                "TLS",
                r#", "tls": {"mode": "SIMPLE", "credentialName": "c", "cipherSuites": ["AES128-SHA"]}"#,
            ),
            "spec.servers[0].tls.cipherSuites[0]",
        ),
        (
            server(
                "TLS",
                r#", "tls": {"mode": "SIMPLE", "serverCertificate": "/c"}"#,
            ),
            "spec.servers[0].tls.privateKey",
        ),
    ] {
        assert_eq!(gateway(&spec).unwrap_err(), [field], "{spec}");
    }
}

#[test]
fn addresses_of_hosts_outside() {
    let dns = entry(
        r#"{"hosts": ["a.example"], "resolution": "DNS",
            "ports": [{"number": 80, "name": "p", "targetPort": 8080}]}"#,
    );
    let (old, new) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    let known = HostAddresses {
        current: vec![new],
        recent: vec![old, new],
    };
    let addresses = Addresses::from([("a.example".to_owned(), known)]);
    let entry = dns.unwrap();
    assert!(entry.unresolved().eq(["a.example"]));
    let service = entry.services(&addresses).next().unwrap();
    assert_eq!(service.virtual_addresses, [old, new]);
    let ports: Vec<_> = service.endpoints().map(|e| e.port).collect();
    assert_eq!(ports, [8080]);
}

#[test]
fn the_first_route_that_matches_of_the_nearest_document() {
    let of = |host: &str, created, to: &str, matching: &str| {
        let spec = format!(
            r#"{{"hosts": ["{host}"], "tcp": [{{"match": [{matching}], "route": [{{"destination": {{"host": "{to}"}}}}]}}]}}"#
        );
        let mut routes = routes(&spec).unwrap();
        routes.created = Some(created);
        routes
    };
    let compiled = Routes::compile(
        "cluster.local",
        vec![
            of("*.example", 1, "wild.example", "{}"),
            of("a.example", 3, "young.example", "{}"),
            of(
                "a.example",
                2,
                "old.example",
                r#"{"port": 1}, {"sourceLabels": {"app": "x"}}"#,
            ),
        ],
        Vec::new(),
        &mut Vec::new(),
    );
    let service = |host: &str| Service {
        name: crate::workload::ObjectName::new("shop", host),
        host: host.to_owned(),
        virtual_addresses: Vec::new(),
        ports: Vec::new(),
        outside: None,
    };
    let (x, y) = (workload("shop", "app=x"), workload("shop", "app=y"));
    let to = |client, host, port| {
        let service = service(host);
        match compiled.of(client, &service, port, None) {
            Course::To(routed) => Some(routed.host.to_owned()),
            Course::Direct => None,
            unclear @ Course::Unclear { .. } => panic!("{unclear:?}"),
        }
    };
    assert_eq!(to(&x, "a.example", 80).as_deref(), Some("old.example"));
    assert_eq!(to(&y, "a.example", 1).as_deref(), Some("old.example"));
    assert_eq!(to(&y, "a.example", 80), None);
    assert_eq!(to(&y, "b.example", 80).as_deref(), Some("wild.example"));
    assert_eq!(to(&y, "a.other", 80), None);
}

/// Where connections to port 80 of `a.example` may go, or what is surely so.
fn course(http: &str) -> String {
    let spec = format!(r#"{{"hosts": ["a.example"], "http": [{http}]}}"#);
    let documents = vec![routes(&spec).unwrap()];
    let compiled = Routes::compile("cluster.local", documents, Vec::new(), &mut Vec::new());
    let service = Service {
        name: crate::workload::ObjectName::new("shop", "a.example"),
        host: "a.example".to_owned(),
        virtual_addresses: Vec::new(),
        ports: Vec::new(),
        outside: None,
    };
    match compiled.of(&workload("shop", "app=x"), &service, 80, None) {
        Course::Direct => "direct".to_owned(),
        Course::To(routed) => routed.host.to_owned(),
        Course::Unclear {
            ends, delegates, ..
        } => {
            let ends: Vec<_> = ends.iter().map(|end| end.host).collect();
            format!("{}{}?", ends.join(" "), if delegates { " ..." } else { "" })
        }
    }
}

#[test]
fn where_requests_decide_nothing_is_sure() {
    let to = |host: &str| format!(r#""route": [{{"destination": {{"host": "{host}"}}}}]"#);
    let (b, c) = (to("b.example"), to("c.example"));
    let by_uri = r#""match": [{"uri": {"prefix": "/b"}}]"#;
    let weighted = |b: &str, c: &str| {
        let end = |host, weight: &str| {
            format!(r#"{{"destination": {{"host": "{host}.example"}} {weight}}}"#)
        };
        format!(r#"{{"route": [{}, {}]}}"#, end("b", b), end("c", c))
    };
    for (http, expected) in [
        (
            format!(r#"{{{b}, "timeout": "1s", "retries": {{"attempts": 3}}}}"#),
            "b.example",
        ),
        (format!("{{{by_uri}, {b}}}"), "b.example?"),
        (
            format!("{{{by_uri}, {b}}}, {{{c}}}"),
            "b.example c.example?",
        ),
        (format!("{{{by_uri}, {b}}}, {{{b}}}"), "b.example"),
        (
            format!(r#"{{"match": [{{"port": 81, "uri": {{"prefix": "/"}}}}], {b}}}, {{{c}}}"#),
            "c.example",
        ),
        (format!("{{{c}}}, {{{by_uri}, {b}}}"), "c.example"),
        (weighted("", ""), "b.example c.example?"),
        (
            weighted(r#", "weight": 90"#, r#", "weight": 10"#),
            "b.example c.example?",
        ),
        (
            weighted(r#", "weight": 100"#, r#", "weight": 0"#),
            "b.example",
        ),
        (
            format!(r#"{{{by_uri}, "redirect": {{"uri": "/"}}}}, {{{b}}}"#),
            "b.example",
        ),
        (
            r#"{"directResponse": {"status": 503}}"#.to_owned(),
            "direct",
        ),
        (r#"{"delegate": {"name": "other"}}"#.to_owned(), " ...?"),
    ] {
        assert_eq!(course(&http), expected, "{http}");
    }
    // Which another document names.
    routes(&format!(r#"{{"http": [{{{b}}}]}}"#)).unwrap();
    assert_eq!(
        routes(&format!(r#"{{"tcp": [{{{b}}}]}}"#)).unwrap_err(),
        ["spec.hosts"]
    );
}
