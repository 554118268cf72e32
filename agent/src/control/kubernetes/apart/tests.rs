use serde_json::{Value, json};

use super::*;
use crate::{
    control::{
        build::Settings,
        kubernetes::{
            feed::{Feed, Istio},
            policies::{Policies, Read},
        },
        objects::Cache,
    },
    policy::{Attributes, Mode, Policy, Verdict, testing::workload},
    workload::ObjectName,
};

/// The documents of a cluster, read again and again by one agent.
struct Agent {
    policies: Policies,
    cache: Cache,
    last_good: LastGood,
}

impl Agent {
    fn fresh() -> Self {
        let mut policies = Policies::default();
        policies.begin(Feed::ConfigMaps);
        policies.end(Feed::ConfigMaps);
        Self {
            policies,
            cache: Cache::default(),
            last_good: LastGood::default(),
        }
    }

    fn put(&mut self, istio: Istio, namespace: &str, spec: &Value) -> &mut Self {
        let feed = Feed::Istio(istio);
        let resource = &istio.resources()[0];
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"namespace": namespace, "name": "default"}, "spec": spec,
        });
        self.policies.put(feed, object);
        self
    }

    fn mode(&mut self, namespace: &str, mode: &str) -> &mut Self {
        let spec = json!({"mtls": {"mode": mode}});
        self.put(Istio::PeerAuthentication, namespace, &spec)
    }

    fn config_map(&mut self, values: &[(&str, &str)]) -> &mut Self {
        let data: serde_json::Map<_, _> = values
            .iter()
            .map(|(key, text)| ((*key).to_owned(), json!(text)))
            .collect();
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {
                "namespace": "sealane-system", "name": "policy",
                "labels": {"sealane.dev/policy": "true"},
            },
        });
        self.policies.put(Feed::ConfigMaps, object);
        self
    }

    fn read(&mut self) -> Read {
        let settings = Settings::of_tests();
        let texts = self.policies.take().expect("something new");
        let read = texts.read(&settings, &self.last_good, &mut self.cache);
        self.last_good = read.last_good.clone();
        read
    }
}

fn mode(policy: &Policy, namespace: &str) -> Mode {
    policy.workload_mode(&workload(namespace, "app=web")).mode
}

/// Whether a workload of the namespace takes a connection of one of the mesh.
fn takes(policy: &Policy, namespace: &str) -> bool {
    let client = "spiffe://cluster.local/ns/shop/sa/client".parse().unwrap();
    let connection = Attributes {
        principal: Some(&client),
        source: "10.0.0.9".parse().unwrap(),
        destination: "10.0.0.1".parse().unwrap(),
        port: 80,
        sni: None,
    };
    let server = workload(namespace, "app=web");
    policy.evaluate(&server, &connection).verdict == Verdict::Allow
}

/// Namespace, and whether it is closed.
fn held(read: &Read) -> Vec<(&str, bool)> {
    let held = read.held_back.iter();
    held.map(|held| (&*held.namespace, held.closed)).collect()
}

fn yaml(namespace: &str, mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: default, namespace: {namespace}}}\n\
         spec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

#[test]
fn what_is_wrong_in_one_namespace_keeps_nobody_else_as_it_was() {
    let mut agent = Agent::fresh();
    agent.mode("shop", "PERMISSIVE").mode("evil", "STRICT");
    assert!(agent.read().held_back.is_empty());
    agent.mode("evil", "STRICTLY").mode("shop", "STRICT");
    let read = agent.read();
    let policy = read.compiled.policy();
    assert_eq!(held(&read), [("evil", false)]);
    assert_eq!(mode(policy, "shop"), Mode::Strict);
    assert_eq!(mode(policy, "evil"), Mode::Strict);
    assert!(takes(policy, "evil"));
    let error = &read.errors[0];
    assert!(
        error.starts_with("PeerAuthentication evil/default: spec.mtls.mode: "),
        "{error}"
    );
    agent.mode("evil", "DISABLE");
    let read = agent.read();
    assert!(read.held_back.is_empty() && read.errors.is_empty());
    assert_eq!(mode(read.compiled.policy(), "evil"), Mode::Disable);
}

#[test]
fn a_fresh_agent_closes_what_it_has_never_known_and_nothing_else() {
    let mut agent = Agent::fresh();
    let deny_nobody = json!({"action": "DENY", "rules": []});
    agent.put(Istio::AuthorizationPolicy, "evil", &deny_nobody);
    agent.mode("shop", "STRICT").mode("evil", "DISABLE");
    let rule = json!({"host": "db.outside", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}});
    agent.put(Istio::DestinationRule, "evil", &rule);
    let read = agent.read();
    let policy = read.compiled.policy();
    assert_eq!(held(&read), [("evil", true)]);
    assert!(takes(policy, "shop") && !takes(policy, "evil"));
    assert_eq!(mode(policy, "evil"), Mode::Strict);
    assert_eq!(
        policy.clients().about("db.outside").count(),
        1,
        "what must be TLS"
    );
    // It stays closed until everything makes sense, and is forgotten then.
    agent.mode("evil", "PERMISSIVE");
    let read = agent.read();
    assert_eq!(held(&read), [("evil", true)]);
    let rules = json!({"rules": [{}]});
    agent.put(Istio::AuthorizationPolicy, "evil", &rules);
    let read = agent.read();
    assert!(read.held_back.is_empty() && takes(read.compiled.policy(), "evil"));
    agent.mode("evil", "SOMEHOW");
    assert_eq!(held(&agent.read()), [("evil", false)]);
}

#[test]
fn a_namespace_that_was_seen_empty_is_known() {
    let mut agent = Agent::fresh();
    agent.mode("shop", "STRICT").read();
    agent.mode("new", "WHATEVER");
    let read = agent.read();
    assert_eq!(held(&read), [("new", false)]);
    assert!(takes(read.compiled.policy(), "new"));
}

#[test]
fn documents_of_config_maps_stand_for_their_own_namespaces() {
    let mut agent = Agent::fresh();
    let (shop, blog) = (yaml("shop", "STRICT"), yaml("blog", "STRICT"));
    agent.config_map(&[("a.yaml", &format!("{shop}---\n{blog}"))]);
    agent.read();
    let (open, bad) = (yaml("shop", "PERMISSIVE"), yaml("blog", "LENIENT"));
    agent.config_map(&[("a.yaml", &format!("{open}---\n{bad}"))]);
    let read = agent.read();
    assert_eq!(held(&read), [("blog", false)]);
    let policy = read.compiled.policy();
    assert_eq!(mode(policy, "shop"), Mode::Permissive);
    assert_eq!(mode(policy, "blog"), Mode::Strict);
}

#[test]
fn of_what_cannot_be_read_nobody_knows_whose_it_was() {
    let mut agent = Agent::fresh();
    agent.mode("blog", "STRICT").mode("istio-system", "STRICT");
    agent.config_map(&[("a.yaml", &yaml("shop", "STRICT"))]);
    agent.read();
    agent.mode("blog", "DISABLE");
    agent.config_map(&[("a.yaml", "kind: [")]);
    let read = agent.read();
    assert_eq!(held(&read), [("istio-system", false), ("shop", false)]);
    let policy = read.compiled.policy();
    let modes = ["shop", "blog", "else"].map(|namespace| mode(policy, namespace));
    assert_eq!(modes, [Mode::Strict, Mode::Disable, Mode::Strict]);
}

#[test]
fn a_mesh_of_which_nothing_is_known_is_closed() {
    let mut agent = Agent::fresh();
    agent.mode("shop", "PERMISSIVE");
    agent.config_map(&[("mtls-mode", "strict, please")]);
    let read = agent.read();
    assert_eq!(held(&read), [("istio-system", true)]);
    assert!(read.held_back[0].mesh_wide);
    let policy = read.compiled.policy();
    assert!(!takes(policy, "shop") && !takes(policy, "blog"));
    assert_eq!(mode(policy, "blog"), Mode::Strict);
    agent.config_map(&[("mtls-mode", "PERMISSIVE")]);
    assert!(takes(agent.read().compiled.policy(), "shop"));
}

#[test]
fn two_documents_with_one_name_are_a_matter_of_their_namespace() {
    let mut agent = Agent::fresh();
    agent.mode("shop", "STRICT").mode("blog", "STRICT").read();
    agent.config_map(&[("a.yaml", &yaml("shop", "DISABLE"))]);
    agent.mode("blog", "DISABLE");
    let read = agent.read();
    assert_eq!(held(&read), [("shop", false)]);
    let policy = read.compiled.policy();
    assert_eq!(mode(policy, "shop"), Mode::Strict);
    assert_eq!(mode(policy, "blog"), Mode::Disable);
}

#[test]
fn a_document_that_is_taken_away_mends_its_namespace() {
    let mut agent = Agent::fresh();
    agent.mode("shop", "NONSENSE");
    assert_eq!(held(&agent.read()), [("shop", true)]);
    let feed = Feed::Istio(Istio::PeerAuthentication);
    agent
        .policies
        .remove(feed, &ObjectName::new("shop", "default"));
    let read = agent.read();
    assert!(read.held_back.is_empty() && takes(read.compiled.policy(), "shop"));
}

/// As users of Istio have them.
#[test]
fn management_of_traffic_closes_nobody() {
    let uri = json!([{"uri": {"prefix": "/v2"}}]);
    let destination = |subset| json!({"destination": {"host": "web", "subset": subset}});
    let server = json!({
        "port": {"number": 443, "name": "tls", "protocol": "TLS"}, "hosts": ["*.local"],
        "tls": {"mode": "AUTO_PASSTHROUGH"},
    });
    let ordinary = [
        (
            Istio::DestinationRule,
            json!({"host": "web",
                "trafficPolicy": {
                    "loadBalancer": {"simple": "LEAST_REQUEST"}, "outlierDetection": {}, "connectionPool": {},
                    "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {}}],
                },
                "subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"loadBalancer": {}}}],
            }),
        ),
        (
            Istio::VirtualService,
            json!({"hosts": ["web"], "http": [
                {"match": uri, "route": [destination("v2")], "retries": {"attempts": 2}},
                {"route": [
                    {"destination": {"host": "web", "subset": "v1"}, "weight": 90},
                    {"destination": {"host": "web", "subset": "v2"}, "weight": 10},
                ]},
            ]}),
        ),
        (
            Istio::AuthorizationPolicy,
            json!({"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin"]}}]}], "targetRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"},
            ]}),
        ),
        (
            Istio::Gateway,
            json!({"selector": {"istio": "eastwestgateway"}, "servers": [server]}),
        ),
        // What Istio would refuse, but is not about security.
        (
            Istio::DestinationRule,
            json!({"host": "web", "trafficPolicy": {}}),
        ),
    ];
    for (istio, spec) in ordinary {
        let mut agent = Agent::fresh();
        let read = agent.put(istio, "shop", &spec).read();
        assert_eq!((held(&read), &read.errors[..]), (vec![], &[][..]), "{spec}");
        assert!(takes(read.compiled.policy(), "shop"), "{spec}");
        assert!(
            read.warnings.iter().any(|w| w.contains("shop/default")),
            "{:?}",
            read.warnings
        );
    }
}

#[test]
fn what_may_be_about_security_closes() {
    let vital = [
        (
            Istio::DestinationRule,
            json!({"host": "web", "trafficPolicy": {"tls": {"mode": "SOME"}}}),
        ),
        (
            Istio::DestinationRule,
            json!({"host": "web", "trafficPolicy": {"tsl": {"mode": "MUTUAL"}}}),
        ),
        (
            Istio::DestinationRule,
            json!({"trafficPolicy": {
                "portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "MUTUAL"}}],
            }}),
        ),
        (
            Istio::AuthorizationPolicy,
            json!({"rules": [{}], "targetRefs": [{"group": "", "kind": "Service", "name": "w"}]}),
        ),
        (
            Istio::AuthorizationPolicy,
            json!({"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/"]}}]}]}),
        ),
        (
            Istio::PeerAuthentication,
            json!({"mtls": {"mode": "STRICTLY"}}),
        ),
    ];
    for (istio, spec) in vital {
        let mut agent = Agent::fresh();
        let read = agent.put(istio, "shop", &spec).read();
        assert_eq!(held(&read), [("shop", true)], "{spec}");
    }
}
