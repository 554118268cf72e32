//! Candidates against all that a cluster makes possible: what is told is what `explain` says.

mod held;

use super::{
    diff::{candidate, told},
    *,
};

const CLUSTER: &str = include_str!("possible.yaml");
const CLIENT: &str = "shop/client";

fn cluster(text: &str) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cluster.yaml"), text).unwrap();
    let loaded = control::load(dir.path(), &Settings::of_tests());
    loaded.unwrap().mesh.into_snapshot()
}

/// Tries one document on a cluster.
fn tried(text: &str, document: &str) -> Diff {
    let snapshot = cluster(text);
    let (policy, untried) = candidate(&snapshot, &[document], false);
    possible(&snapshot, &policy, &untried)
}

/// What `explain` says before and after.
fn explained(text: &str, document: &str, client: &str, server: &str) -> [String; 2] {
    let after = format!("{text}\n---\n{document}\n");
    [text, &after].map(|text| {
        let e = explain(&cluster(text), client, server).unwrap();
        format!("{:?} {:?}", e.verdict, e.transport)
    })
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    let group = match kind {
        "PeerAuthentication" | "AuthorizationPolicy" => "security",
        _ => "networking",
    };
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "{{apiVersion: {group}.istio.io/v1, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
    )
}

fn strict() -> String {
    document(
        "PeerAuthentication",
        "shop/default",
        "{mtls: {mode: STRICT}}",
    )
}

fn denied(diff: &Diff) -> Vec<String> {
    let name = |change: &Change| {
        let subject = &change.subject;
        let asked = subject.asked.as_deref().unwrap_or("-");
        format!(
            "{} {}:{} {asked}",
            subject.client, subject.server, subject.port
        )
    };
    diff.cut.iter().map(name).collect()
}

#[test]
fn pods_on_the_network_of_their_nodes_are_clients() {
    let on_node = CLUSTER.replace(
        "spec: {nodeName: n, serviceAccountName: default,",
        "spec: {hostNetwork: true, nodeName: n, serviceAccountName: default,",
    );
    assert_eq!(
        explained(&on_node, &strict(), "legacy/old", "shop/web:80"),
        ["Allow Plaintext", "Deny Plaintext"]
    );
    let diff = tried(&on_node, &strict());
    assert_eq!(denied(&diff), ["legacy/old shop/web:8080 -"]);
    assert!(!diff.is_harmless());
}

#[test]
fn servers_outside_of_the_mesh_are_tried_by_what_their_clients_are_told() {
    let mutual = "{host: \"*.local\", trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}";
    let rule = document("DestinationRule", "istio-system/default", mutual);
    let route = "{hosts: [old], http: [{route: [{destination: {host: nope}}]}]}";
    let route = document("VirtualService", "legacy/v", route);
    for (candidate, by) in [
        (
            rule,
            "MutualTls Some(DestinationRuleConflict) DestinationRule/istio-system/default",
        ),
        (route, "Plaintext Some(Route) VirtualService/legacy/v"),
    ] {
        let [before, after] = explained(CLUSTER, &candidate, CLIENT, "old.legacy:80");
        assert!(
            before.starts_with("Allow") && after.starts_with("Deny"),
            "{after}"
        );
        let diff = tried(CLUSTER, &candidate);
        let lines = told(&diff);
        assert!(lines.contains(&format!("cut {CLIENT} {by}")), "{lines:?}");
    }
}

/// The cluster, with a host outside whose address name servers have to tell.
fn unresolved() -> String {
    let fixed = "resolution: STATIC, location: MESH_EXTERNAL, endpoints: [{address: 203.0.113.5}]";
    CLUSTER
        .replace("addresses: [240.0.0.1], ", "")
        .replace(fixed, "resolution: DNS, location: MESH_EXTERNAL")
}

#[test]
fn where_hosts_will_be_that_are_new_is_not_known() {
    let entry = "{hosts: [new.example], addresses: [240.0.0.9], ports: [{number: 80, name: http, protocol: HTTP}], \
                 resolution: STATIC, endpoints: [{address: 203.0.113.6}]}";
    let route = "{hosts: [api.example], http: [{route: [{destination: {host: new.example}}]}]}";
    let candidate = [
        document("ServiceEntry", "shop/new", entry),
        document("VirtualService", "shop/v", route),
    ];
    for text in [CLUSTER, &unresolved()] {
        let diff = tried(text, &candidate.join("\n---\n"));
        let line =
            |name: &str| format!("uncertain {name} Plaintext Some(Route) VirtualService/shop/v");
        assert_eq!(told(&diff), [CLIENT, "shop/web"].map(line));
        assert!(!diff.is_harmless());
    }
}

#[test]
fn hosts_outside_of_the_cluster_are_tried() {
    let rule = |mode: &str| {
        let spec = format!("{{host: api.example, trafficPolicy: {{tls: {{mode: {mode}}}}}}}");
        document("DestinationRule", "shop/api", &spec)
    };
    let unresolved = unresolved();
    for text in [CLUSTER, &unresolved] {
        let secured = format!("{text}\n---\n{}\n", rule("SIMPLE"));
        let by = "DestinationRule/shop/api";
        let diff = tried(&secured, &rule("DISABLE"));
        assert_eq!(
            told(&diff),
            [
                format!("exposed {CLIENT} Plaintext None {by}"),
                format!("exposed shop/web Plaintext None {by}"),
            ]
        );
        assert_eq!(diff.exposed[0].subject.server, "shop/api.example");
        let diff = tried(&secured, &rule("ISTIO_MUTUAL"));
        assert_eq!(diff.cut.len(), 2, "{diff:?}");
    }
}

/// `count` pods of one controller, after those of the cluster.
fn many(count: u32) -> String {
    let pods = (0..count).map(|n| {
        let address = std::net::Ipv4Addr::from((10 << 24) + (9 << 16) + n);
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: w-{n}, namespace: shop, labels: {{app: many, \
             pod-template-hash: h{n}}}}}\nspec: {{serviceAccountName: many, containers: [{{name: c, ports: \
             [{{containerPort: 8080}}]}}]}}\nstatus: {{phase: Running, podIP: {address}}}\n"
        )
    });
    format!("{CLUSTER}\n{}", pods.collect::<String>())
}

#[test]
fn of_many_pods_that_are_alike_one_stands_for_two_that_speak_with_each_other() {
    let deny = "{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/many]}}], to: \
                [{operation: {ports: [\"8080\"]}}]}]}";
    let deny = document("AuthorizationPolicy", "shop/deny", deny);
    for (count, cut) in [(20, 20 * 21), (3000, 3)] {
        let text = many(count);
        let diff = tried(&text, &strict());
        let within = |line: &String| line.starts_with("shop/w-");
        assert!(!denied(&diff).iter().any(within), "{:?}", denied(&diff));
        let diff = tried(&text, &deny);
        // Of each the other ones, `web` and `client`.
        assert_eq!(denied(&diff).len(), cut, "{:?}", diff.summary);
        assert!(denied(&diff).contains(&"shop/w-0 shop/w-1:8080 -".to_owned()));
        let alike = diff
            .warnings
            .iter()
            .any(|w| w.contains("one stands for all"));
        assert_eq!(alike, count > 20, "{:?}", diff.warnings);
    }
}

#[test]
fn addresses_tell_pods_apart_where_policy_speaks_of_them() {
    let spec = "{action: DENY, selector: {matchLabels: {app: web}}, rules: [{from: [{source: {ipBlocks: \
                [10.9.1.7]}}]}]}";
    let diff = tried(
        &many(3000),
        &document("AuthorizationPolicy", "shop/one", spec),
    );
    assert_eq!(denied(&diff), ["shop/w-263 shop/web:8080 -"]);
}

#[test]
fn names_that_clients_ask_for_are_tried() {
    let named = "outbound_.80_._.web.shop.svc.cluster.local";
    let rules = format!("rules: [{{when: [{{key: connection.sni, values: [{named}]}}]}}]}}");
    let deny = document(
        "AuthorizationPolicy",
        "shop/sni",
        &format!("{{action: DENY, {rules}"),
    );
    assert_eq!(
        explained(CLUSTER, &deny, CLIENT, "shop/web:80"),
        ["Allow MutualTls", "Deny MutualTls"]
    );
    let diff = tried(CLUSTER, &deny);
    let asked = "web.shop.svc.cluster.local:80";
    assert_eq!(denied(&diff), [format!("{CLIENT} shop/web:8080 {asked}")]);
    // Whoever asks for the service is let in, and nobody else.
    let allow = document("AuthorizationPolicy", "shop/sni", &format!("{{{rules}"));
    let cut = denied(&tried(CLUSTER, &allow));
    assert!(
        !cut.contains(&format!("{CLIENT} shop/web:8080 {asked}")),
        "{cut:?}"
    );
    assert!(
        cut.contains(&format!("{CLIENT} shop/web:8080 10.1.0.2:8080")),
        "{cut:?}"
    );
}

#[test]
fn each_family_is_tried() {
    let spec = "{selector: {matchLabels: {app: web}}, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}";
    let allow = document("AuthorizationPolicy", "shop/v4", spec);
    assert_eq!(
        explained(CLUSTER, &allow, "fd00::3", "[fd00::2]:8080"),
        ["Allow MutualTls", "Deny MutualTls"]
    );
    let cut = denied(&tried(CLUSTER, &allow));
    assert_eq!(cut, [format!("{CLIENT} shop/web:8080 [fd00::2]:8080")]);
}

#[test]
fn clients_with_istios_own_proxy_do_as_the_documents_say() {
    let proxy = CLUSTER.replace(
        "serviceAccountName: default, containers: [{name: c,",
        "serviceAccountName: default, containers: [{name: istio-proxy,",
    ) + &format!("---\n{}\n", strict());
    let spec = "{host: web.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}";
    let rule = document("DestinationRule", "shop/web", spec);
    assert_eq!(
        explained(&proxy, &rule, "legacy/old", "shop/web:80"),
        ["Allow MutualTls", "Deny Plaintext"]
    );
    let cut = denied(&tried(&proxy, &rule));
    let asked = "web.shop.svc.cluster.local:80";
    assert!(
        cut.contains(&format!("legacy/old shop/web:8080 {asked}")),
        "{cut:?}"
    );
}

#[test]
fn ports_of_which_only_policy_speaks_are_tried_and_pods_without_any_are_told() {
    let spec = "{action: DENY, selector: {matchLabels: {app: client}}, rules: [{to: [{operation: {ports: \
                [\"9090\"]}}]}]}";
    let diff = tried(CLUSTER, &document("AuthorizationPolicy", "shop/port", spec));
    assert_eq!(
        denied(&diff),
        [
            "legacy/old shop/client:9090 -",
            "shop/web shop/client:9090 -"
        ]
    );
    let warnings = tried(CLUSTER, &strict()).warnings.join("; ");
    assert!(
        warnings.contains("of which no port is known: 1 (shop/client for one)"),
        "{warnings}"
    );
}

#[test]
fn what_allows_everybody_leaves_nothing_unencrypted() {
    let allow = document("AuthorizationPolicy", "shop/all", "{rules: [{}]}");
    let text = format!("{CLUSTER}\n---\n{allow}\n");
    let disable = strict().replace("STRICT", "DISABLE");
    let diff = tried(&text, &disable);
    let by = "PeerAuthentication/shop/default";
    assert_eq!(
        told(&diff),
        [format!("exposed {CLIENT} Plaintext None {by}")]
    );
}
