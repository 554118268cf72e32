//! Which server takes a client, and where it is led.

use super::*;
use crate::policy::{
    DocumentKind,
    testing::workload,
    traffic::{Gateway, Routes},
};

/// Gateways and routes of the namespace `shop` as (name, specification).
fn gateways(edges: &[(&str, &str)], services: &[(&str, &str)]) -> (Routes, Vec<Ignored>) {
    let mut ignored = Vec::new();
    let named = |kind, name: &str| DocumentRef::new(kind, "shop", name);
    let edges = edges.iter().map(|(name, spec)| {
        let spec = serde_json::from_str(spec).unwrap();
        Gateway::new(named(DocumentKind::Gateway, name), None, spec).unwrap()
    });
    let services = services.iter().map(|(name, spec)| {
        let spec = serde_json::from_str(spec).unwrap();
        VirtualService::new(named(DocumentKind::VirtualService, name), None, spec).unwrap()
    });
    let (edges, services) = (edges.collect(), services.collect());
    let routes = Routes::compile("cluster.local", services, edges, &mut ignored);
    (routes, ignored)
}

fn server(port: u16, protocol: &str, hosts: &str, tls: &str) -> String {
    format!(
        r#"{{"port": {{"number": {port}, "name": "{protocol}{port}{hosts}", "protocol": "{protocol}"}},
            "hosts": ["{hosts}"] {tls}}}"#
    )
}

fn edge(servers: &[String]) -> String {
    let servers = servers.join(",");
    format!(r#"{{"selector": {{"app": "edge"}}, "servers": [{servers}]}}"#)
}

fn through(gateway: &str, host: &str, list: &str, matching: &str, to: &str) -> String {
    format!(
        r#"{{"hosts": ["{host}"], "gateways": ["{gateway}"],
            "{list}": [{{ {matching} "route": [{{"destination": {{"host": "{to}"}}}}]}}]}}"#
    )
}

/// Where a client gets to, or why not.
fn lead(routes: &Routes, port: u16, name: Option<&str>) -> String {
    let own = &workload("shop", "app=edge");
    let caller = Caller {
        gateway: own,
        name,
        address: "10.0.0.1".parse().unwrap(),
    };
    match routes.gateways().take(port, caller) {
        Ok(Taken {
            routed: Some(routed),
            ..
        }) => routed.host.to_owned(),
        Ok(Taken { routed: None, .. }) => "redirect".to_owned(),
        Err(NoRoute::NoServer { .. }) => "no server".to_owned(),
        Err(NoRoute::Nobody { .. }) => "nobody".to_owned(),
        Err(NoRoute::Ambiguous { .. }) => "ambiguous".to_owned(),
        Err(NoRoute::Redirects { .. }) => "no name".to_owned(),
    }
}

#[test]
fn names_choose_servers_and_routes_of_gateways() {
    let simple = r#", "tls": {"mode": "SIMPLE", "credentialName": "c"}"#;
    let pass = r#", "tls": {"mode": "PASSTHROUGH"}"#;
    let edges = edge(&[
        server(443, "HTTPS", "*", simple),
        server(443, "TLS", "raw.example", pass),
        server(8443, "HTTPS", "*.example", simple),
        server(9000, "TCP", "*", ""),
    ]);
    let sni = r#""match": [{"sniHosts": ["raw.example"]}],"#;
    let (routes, ignored) = gateways(
        &[("edge", &edges)],
        &[
            ("a", &through("edge", "a.example", "http", "", "a")),
            (
                "wild",
                &through("shop/edge", "*.example", "http", "", "wild"),
            ),
            ("raw", &through("./edge", "raw.example", "tls", sni, "raw")),
            (
                "tcp",
                &through("edge.shop.svc.cluster.local", "*", "tcp", "", "db"),
            ),
            ("lost", &through("other/edge", "x.example", "http", "", "x")),
        ],
    );
    let whole = |name: &str| format!("{name}.shop.svc.cluster.local");
    for (port, name, expected) in [
        (443, Some("a.example"), whole("a")),
        (443, Some("b.example"), whole("wild")),
        (443, Some("raw.example"), whole("raw")),
        (443, Some("a.other"), "nobody".to_owned()),
        (443, None, "ambiguous".to_owned()),
        (8443, Some("a.example"), whole("a")),
        (8443, Some("a.other"), "no server".to_owned()),
        (8443, None, "no server".to_owned()),
        (9000, None, whole("db")),
        (1, None, "no server".to_owned()),
    ] {
        assert_eq!(lead(&routes, port, name), expected, "{port} {name:?}");
    }
    assert!(
        matches!(&ignored[..], [Ignored::NoGateway { gateway, .. }] if gateway == "other/edge"),
        "{ignored:?}"
    );
    let stranger = workload("shop", "app=web");
    assert!(routes.gateways().ports(&stranger.labels).is_empty());
}

/// Servers of HTTP with and without `httpsRedirect`, on port 80.
fn plain(hosts: &str) -> String {
    server(80, "HTTP", hosts, "")
}

fn redirecting(hosts: &str) -> String {
    server(80, "HTTP2", hosts, r#", "tls": {"httpsRedirect": true}"#)
}

#[test]
fn the_most_specific_host_of_http_counts() {
    let edge = edge(&[
        plain("*"),
        redirecting("*.secret.example"),
        plain("open.secret.example"),
    ]);
    let (routes, _) = gateways(
        &[("edge", &edge)],
        &[
            ("all", &through("edge", "*", "http", "", "all")),
            (
                "open",
                &through("edge", "open.secret.example", "http", "", "open"),
            ),
            (
                "deep",
                &through("edge", "deep.secret.example", "http", "", "deep"),
            ),
        ],
    );
    let whole = |name: &str| format!("{name}.shop.svc.cluster.local");
    for (name, expected) in [
        (Some("a.example"), whole("all")),
        (Some("a.secret.example"), "redirect".to_owned()),
        // What it has in common with the server that redirects is the same host.
        (Some("open.secret.example"), "redirect".to_owned()),
        (Some("deep.secret.example"), "redirect".to_owned()),
        (None, "no name".to_owned()),
    ] {
        assert_eq!(lead(&routes, 80, name), expected, "{name:?}");
    }
}

#[test]
fn no_older_server_takes_hosts_of_others() {
    let (old, young) = (edge(&[plain("*")]), edge(&[redirecting("a.example")]));
    let all = through("old", "*", "http", "", "all");
    let (routes, ignored) = gateways(&[("old", &old), ("young", &young)], &[("all", &all)]);
    assert_eq!(lead(&routes, 80, Some("a.example")), "redirect");
    assert_eq!(
        lead(&routes, 80, Some("b.example")),
        "all.shop.svc.cluster.local"
    );
    assert_eq!(lead(&routes, 80, None), "no name");
    assert!(ignored.is_empty(), "{ignored:?}");
}

#[test]
fn hosts_of_http_on_several_servers() {
    let edges = [
        ("a", edge(&[plain("a.example")])),
        ("b", edge(&[plain("b.example")])),
        ("far", r#"{"selector": {"app": "far"}, "servers": [{"port": {"number": 80, "name": "h", "protocol": "HTTP"},
                    "hosts": ["*"]}]}"#.to_owned()),
    ];
    let edges = edges.each_ref().map(|(name, spec)| (*name, spec.as_str()));
    let to = |to: &str| {
        [
            ("a", through("a", "a.example", "http", "", "a")),
            ("b", through("b", "b.example", "http", "", to)),
            ("far", through("far", "*", "http", "", "far")),
        ]
    };
    let compiled = |services: &[(&str, String)]| {
        let services: Vec<_> = services.iter().map(|(n, s)| (*n, &**s)).collect();
        gateways(&edges, &services)
    };
    let (routes, ignored) = compiled(&to("b"));
    assert_eq!(
        lead(&routes, 80, Some("a.example")),
        "a.shop.svc.cluster.local"
    );
    assert_eq!(
        lead(&routes, 80, Some("b.example")),
        "b.shop.svc.cluster.local"
    );
    assert_eq!(lead(&routes, 80, Some("c.example")), "no server");
    assert_eq!(lead(&routes, 80, None), "ambiguous");
    let [
        Ignored::NeedsHttp {
            document, port: 80, ..
        },
    ] = &ignored[..]
    else {
        panic!("{ignored:?}");
    };
    assert_eq!(&*document.name, "b");
    let (routes, ignored) = compiled(&to("a"));
    assert_eq!(lead(&routes, 80, None), "a.shop.svc.cluster.local");
    assert!(ignored.is_empty(), "{ignored:?}");
}

#[test]
fn whether_hosts_make_a_difference() {
    let depends = |servers: &[String], hosts: &[(&str, &str)]| {
        let edge = edge(servers);
        let services = hosts
            .iter()
            .map(|(host, to)| through("edge", host, "http", "", to));
        let services: Vec<_> = services.collect();
        let services: Vec<_> = services.iter().map(|s| ("s", &**s)).collect();
        let (routes, _) = gateways(&[("edge", &edge)], &services);
        let own = &workload("shop", "app=edge");
        let caller = Caller {
            gateway: own,
            name: None,
            address: "10.0.0.1".parse().unwrap(),
        };
        routes.gateways().depends_on_host(80, caller)
    };
    assert!(!depends(&[plain("*")], &[("*", "a")]));
    assert!(!depends(&[plain("*")], &[("*", "a"), ("b.example", "a")]));
    assert!(depends(&[plain("*")], &[("*", "a"), ("b.example", "b")]));
    assert!(depends(&[plain("*")], &[("b.example", "b")]));
    assert!(depends(&[plain("a.example")], &[("*", "a")]));
    assert!(depends(
        &[plain("*"), redirecting("a.example")],
        &[("*", "a")]
    ));
}

#[test]
fn what_needs_a_look_into_http_is_told() {
    let edges = edge(&[server(80, "HTTP", "*", "")]);
    let services = |to: &str| {
        [
            ("a", through("edge", "a.example", "http", "", "a")),
            ("b", through("edge", "b.example", "http", "", to)),
        ]
    };
    let compiled = |to: &str| {
        let services = services(to);
        let services: Vec<_> = services.iter().map(|(n, s)| (*n, &**s)).collect();
        gateways(&[("edge", &edges)], &services)
    };
    let (routes, ignored) = compiled("b");
    assert_eq!(lead(&routes, 80, None), "ambiguous");
    assert!(
        matches!(ignored[..], [Ignored::NeedsHttp { port: 80, .. }]),
        "{ignored:?}"
    );
    let (routes, ignored) = compiled("a");
    assert_eq!(lead(&routes, 80, None), "a.shop.svc.cluster.local");
    assert!(ignored.is_empty(), "{ignored:?}");
}

#[test]
fn namespaces_of_hosts_and_ports_of_others() {
    let edges = edge(&[server(
        443,
        "TLS",
        "other/*",
        r#", "tls": {"mode": "PASSTHROUGH"}"#,
    )]);
    let young = edge(&[server(443, "HTTP", "*", "")]);
    let sni = r#""match": [{"sniHosts": ["a.example"]}],"#;
    let (routes, _) = gateways(
        &[("edge", &edges), ("young", &young)],
        &[("a", &through("edge", "a.example", "tls", sni, "a"))],
    );
    assert_eq!(lead(&routes, 443, Some("a.example")), "nobody");
    let own = workload("shop", "app=edge");
    let shadowed = routes.gateways().shadowed(&own.labels);
    let shadowed: Vec<_> = shadowed.map(|s| s.gateway.name.as_str()).collect();
    assert_eq!(shadowed, ["young"]);
}

#[test]
fn routes_of_one_namespace_get_none_of_anothers_hosts() {
    let edges = r#"{"selector": {"app": "edge"}, "servers": [
        {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["shop/a.example", "other/b.example"],
         "tls": {"mode": "SIMPLE", "credentialName": "c"}},
        {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["other/*", "shop/a.example"]}]}"#;
    let both = through("edge", r#"a.example", "b.example", "*"#, "http", "", "web");
    let (routes, _) = gateways(&[("edge", edges)], &[("web", &both)]);
    for port in [443, 80] {
        let to = |name| lead(&routes, port, Some(name));
        assert_eq!(to("a.example"), "web.shop.svc.cluster.local", "{port}");
        assert_eq!(to("b.example"), "nobody", "{port}");
    }
    let own = workload("shop", "app=edge");
    let caller = Caller {
        gateway: &own,
        name: None,
        address: "10.0.0.1".parse().unwrap(),
    };
    assert!(routes.gateways().depends_on_host(80, caller));
}

#[test]
fn requests_inside_of_tls_are_for_hosts_that_want_the_same_of_clients() {
    let own = &workload("shop", "app=edge");
    let caller = |name| Caller {
        gateway: own,
        name,
        address: "10.0.0.1".parse().unwrap(),
    };
    let with = |a: &str, b: &str| {
        let tls = |mode: &str| format!(r#", "tls": {{"mode": {mode}}}"#);
        let edge = edge(&[
            server(443, "HTTPS", "a.example", &tls(a)),
            server(443, "HTTPS", "b.example", &tls(b)),
        ]);
        let all = through("edge", "*", "http", "", "all");
        gateways(&[("edge", &edge)], &[("all", &all)]).0
    };
    let [simple, other, mutual] = [
        r#""SIMPLE", "credentialName": "a""#,
        r#""SIMPLE", "credentialName": "b""#,
        r#""MUTUAL", "credentialName": "a""#,
    ];
    let newest = format!(r#"{simple}, "minProtocolVersion": "TLSV1_3""#);
    for (a, b, same) in [
        (simple, simple, true),
        (simple, other, true),
        (simple, mutual, false),
        (mutual, mutual, true),
        (mutual, &mutual.replace("\"a\"", "\"b\""), false),
        (simple, &newest, false),
    ] {
        let routes = with(a, b);
        let gateways = routes.gateways();
        assert_eq!(gateways.differ(443, caller(None)), !same, "{a}, {b}");
        let taken = gateways.take(443, caller(Some("a.example"))).unwrap();
        let Work::Terminate(tls) = &taken.served.server.work else {
            panic!("{taken:?}");
        };
        let admits = |host| gateways.admits(443, tls, caller(Some(host)));
        assert!(admits("a.example"));
        assert_eq!(admits("b.example"), same, "{a}, {b}");
        assert!(!admits("c.example"));
    }
}
