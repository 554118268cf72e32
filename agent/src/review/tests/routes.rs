//! Connections that documents send elsewhere, or out of the mesh.

use super::*;

const THIRD_ROOT: &str = include_str!("third-root.yaml");

#[test]
fn two_meshes_with_a_third_root() {
    let routed = "DestinationRule/client/helloworld-dr VirtualService/client/helloworld-vs";
    for (client, server, expected) in [
        ("client/sleep", "helloworld.example:80", routed),
        // Which the service's namespace has told everybody.
        ("default/sleep", "helloworld.example:80", routed),
    ] {
        let told = told(&[THIRD_ROOT], client, server);
        assert_eq!(told, format!("Allow Tls {expected}"), "{client} {server}");
    }
    for (client, server) in [
        // Its own TLS, of which the subset says nothing.
        ("client/sleep", "helloworld.example:443"),
        ("client/sleep", "helloworld.example:8080"),
        // Not in the mesh.
        ("other-ns/sleep", "helloworld.example:443"),
    ] {
        let told = told(&[THIRD_ROOT], client, server);
        assert_eq!(told, "Allow Plaintext ", "{client} {server}");
    }
    let snapshot = snapshot(&[THIRD_ROOT]);
    let unknown = explain(&snapshot, "client/sleep", "other.example:80");
    assert!(matches!(unknown, Err(TargetError::UnknownHost(..))));
    let rows = tls_check(&snapshot, Some("client/sleep"), Some("helloworld.example")).unwrap();
    let told = rows.iter().map(|row| {
        assert_eq!(
            (row.status, &*row.server),
            (Agreement::Ok, &["-".to_owned()][..])
        );
        (row.host.as_str(), row.client.as_str())
    });
    // The first of which only the route speaks.
    let expected = [
        ("helloworld.example:80", "MUTUAL"),
        ("helloworld.example:443", "DISABLE"),
    ];
    assert!(told.eq(expected), "{rows:#?}");
}

fn route(host: &str, to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: r, namespace: default}}\n\
         spec: {{hosts: [{host}], http: [{{match: [{{port: 80}}], route: [{{destination: {to}}}]}}]}}\n"
    )
}

fn tls_rule(host: &str, tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: d, namespace: default}}\n\
         spec: {{host: {host}, trafficPolicy: {{tls: {tls}}}, subsets: [{{name: v2, labels: {{v: two}}}}]}}\n"
    )
}

#[test]
fn routes_between_services() {
    let elsewhere = route("customers", "{host: legacy.other-ns.svc.cluster.local}");
    let nowhere = route("customers", "{host: gone.other-ns.svc.cluster.local}");
    let subset = route("customers", "{host: customers, subset: v2}");
    let rule = tls_rule("customers", "{mode: SIMPLE}");
    let mutual = tls_rule("legacy.other-ns.svc.cluster.local", "{mode: ISTIO_MUTUAL}");
    let tcp = elsewhere.replace("http:", "tcp:");
    let other_port = elsewhere.replace("port: 80", "port: 81");
    let of_gateway = elsewhere.replace("spec: {", "spec: {gateways: [g], ");
    let by = " VirtualService/default/r";
    let strict = "PeerAuthentication/default/default";
    for (policies, expected) in [
        (&[&*elsewhere][..], format!("Allow Plaintext {}", by.trim())),
        (&[&nowhere], format!("Deny Plaintext {}", by.trim())),
        (&[&subset], format!("Deny Plaintext {}", by.trim())),
        (&[&*tcp], "Allow MutualTls ".to_owned()),
        (&[&*other_port], "Allow MutualTls ".to_owned()),
        (&[&*of_gateway], "Allow MutualTls ".to_owned()),
        (&[&*rule], "Allow Tls DestinationRule/default/d".to_owned()),
        (
            &[&*rule, STRICT],
            format!("Deny Tls {strict} DestinationRule/default/d"),
        ),
    ] {
        let told = told(policies, "default/sleep", "default/customers:80");
        assert_eq!(told, expected, "{policies:?}");
    }
    let e = explain(&snapshot(&[&mutual]), "default/sleep", "other-ns/legacy:80").unwrap();
    assert_eq!(
        (e.verdict, e.transport),
        (Answer::Deny, Transport::MutualTls)
    );
}

#[test]
fn what_a_rule_says_of_a_port_stands_alone() {
    let rule = |policy: &str, more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: d, namespace: default}}\n\
             spec: {{host: customers, {more} trafficPolicy: {policy}}}\n"
        )
    };
    let disabled = "{tls: {mode: DISABLE}}";
    let port = "{tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]}";
    let selecting = "workloadSelector: {matchLabels: {app: sleep}},";
    let of_others = rule(disabled, selecting).replace("namespace: default", "namespace: other-ns");
    for (policy, expected) in [
        (
            rule(disabled, ""),
            "Allow Plaintext DestinationRule/default/d",
        ),
        (rule(port, ""), "Allow MutualTls DestinationRule/default/d"),
        (
            rule(disabled, selecting),
            "Allow Plaintext DestinationRule/default/d",
        ),
        (of_others, "Allow MutualTls "),
    ] {
        let told = told(&[&policy], "default/sleep", "default/customers:80");
        assert_eq!(told, expected, "{policy}");
    }
}

fn outside(host: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: o, namespace: default}}\n\
         spec: {{hosts: [{host}], resolution: STATIC, addresses: [{address}], \
         endpoints: [{{address: 192.0.2.1}}], ports: [{{number: 3000, name: tcp}}]}}\n"
    )
}

#[test]
fn a_host_outside_takes_nothing_from_the_mesh() {
    // The address of a pod, to which the host does not lead.
    let pod = outside("outside.example", "10.0.1.2");
    let told_pod = told(&[&pod], "default/sleep", "10.0.1.2:3000");
    assert_eq!(told_pod, "Allow MutualTls ");
    let other = outside("outside.example", "192.0.2.7");
    let told_other = told(&[&other], "default/sleep", "192.0.2.7:3000");
    assert_eq!(told_other, "Allow Plaintext ");
    // The host of a service, which a route leads to.
    let service = outside("customers.default.svc.cluster.local", "192.0.2.7");
    let route = route(
        "legacy.other-ns.svc.cluster.local",
        "{host: customers, port: {number: 80}}",
    );
    let routed = told(&[&service, &route], "default/sleep", "other-ns/legacy:80");
    assert_eq!(routed, "Allow MutualTls VirtualService/default/r");
}

/// Of a namespace, perhaps for itself only.
fn claim(namespace: &str, host: &str, address: &str, more: &str) -> String {
    outside(host, address)
        .replace("namespace: default", &format!("namespace: {namespace}"))
        .replace("name: o,", &format!("name: {},", host.replace('.', "-")))
        .replace("spec: {", &format!("spec: {{{more}"))
}

#[test]
fn each_namespace_has_its_own_view_of_hosts_outside() {
    let private = claim("other-ns", "api.example", "192.0.2.7", "exportTo: [.], ");
    let public = claim("default", "api.example", "192.0.2.8", "");
    let rule = tls_rule("api.example", "{mode: SIMPLE}");
    let by_rule = "Allow Tls DestinationRule/default/d";
    for (server, expected) in [
        ("192.0.2.8:3000", by_rule),
        // Known to the other namespace only.
        ("192.0.2.7:3000", "Allow Plaintext "),
        ("api.example:3000", by_rule),
    ] {
        let told = told(&[&private, &public, &rule], "default/sleep", server);
        assert_eq!(told, expected, "{server}");
    }
    let hidden = told(&[&private, &rule], "default/sleep", "192.0.2.7:3000");
    assert_eq!(hidden, "Allow Plaintext ");
}

#[test]
fn hosts_that_share_an_address_are_not_guessed() {
    let one = claim("default", "one.example", "192.0.2.7", "");
    let two = claim("default", "two.example", "192.0.2.7", "");
    let other_port = two.replace("number: 3000", "number: 3001");
    let rule = tls_rule("two.example", "{mode: SIMPLE}");
    let alike = tls_rule("'*.example'", "{mode: DISABLE}");
    for (policies, expected) in [
        (&[&*one, &two][..], "Allow Plaintext "),
        (&[&*one, &two, &rule], "Deny Plaintext "),
        (&[&*one, &other_port, &rule], "Allow Plaintext "),
        (
            &[&*one, &two, &alike],
            "Allow Plaintext DestinationRule/default/d",
        ),
    ] {
        let told = told(policies, "default/sleep", "192.0.2.7:3000");
        assert_eq!(told, expected, "{policies:?}");
    }
}

#[test]
fn where_requests_decide_connections_go_on_unless_tls_depends_on_it() {
    let by_uri =
        |to: &str| route("customers", to).replace("{port: 80}", "{port: 80, uri: {prefix: /v2}}");
    let elsewhere = by_uri("{host: legacy.other-ns.svc.cluster.local}");
    let legacy = |mode: &str| tls_rule("legacy.other-ns.svc.cluster.local", mode);
    let (simple, managed) = (legacy("{mode: SIMPLE}"), legacy("{mode: DISABLE}"));
    let managed = managed.replace("tls: {mode: DISABLE}", "loadBalancer: {simple: RANDOM}");
    let refused = "Deny Plaintext VirtualService/default/r";
    for (policies, expected) in [
        (&[&*elsewhere][..], "Allow MutualTls "),
        (&[&elsewhere, &managed], "Allow MutualTls "),
        (&[&elsewhere, &simple], refused),
    ] {
        let told = told(policies, "default/sleep", "customers:80");
        assert_eq!(told, expected, "{policies:?}");
    }
}
