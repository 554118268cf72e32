//! Clusters and documents at random: what is told is held against `explain`, asked about everything that a client may
//! ask for, before and after.

use std::fmt::Write as _;

use super::*;

const CASES: u64 = 400;

const MODES: [&str; 3] = ["STRICT", "PERMISSIVE", "DISABLE"];
const SENT: [&str; 3] = ["ISTIO_MUTUAL", "SIMPLE", "DISABLE"];
const HOSTS: [&str; 7] = [
    "x.a.svc.cluster.local",
    "y.a.svc.cluster.local",
    "x.b.svc.cluster.local",
    "x.out.svc.cluster.local",
    "api.example",
    "gone.a.svc.cluster.local",
    "'*.local'",
];
const SOURCES: [&str; 6] = [
    "principals: [cluster.local/ns/a/sa/x]",
    "namespaces: [b]",
    "notPrincipals: [cluster.local/ns/a/sa/y]",
    "ipBlocks: [10.0.0.0/31]",
    "ipBlocks: ['fd00::/64']",
    "notIpBlocks: [10.0.0.2]",
];
const WHEN: [&str; 4] = [
    "{key: connection.sni, values: ['outbound_.80_._.x.a.svc.cluster.local']}",
    "{key: connection.sni, notValues: ['*.b.svc.cluster.local']}",
    "{key: destination.port, values: ['81']}",
    "{key: destination.ip, values: ['fd00::/64']}",
];

struct Pod {
    name: String,
    addresses: Vec<String>,
    on_node: bool,
}

struct World {
    text: String,
    pods: Vec<Pod>,
    services: Vec<String>,
    /// Of no service more than one.
    one_each: bool,
}

fn pick<'t>(random: &mut fastrand::Rng, of: &[&'t str]) -> &'t str {
    random.choice(of).unwrap()
}

const MESH: &str = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {istio-injection: enabled}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: b, labels: {istio-injection: enabled}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: out}}
- apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata: {name: api, namespace: a}
  spec:
    hosts: [api.example]
    addresses: [240.0.0.1]
    ports: [{number: 80, name: http, protocol: HTTP}]
    resolution: STATIC
    endpoints: [{address: 203.0.113.5}]
";

fn world(random: &mut fastrand::Rng) -> World {
    let mut world = World {
        text: MESH.to_owned(),
        pods: Vec::new(),
        services: vec!["240.0.0.1:80".to_owned()],
        one_each: true,
    };
    let mut owners = Vec::new();
    for index in 0..random.usize(2..5) {
        let owner = (pick(random, &["a", "b", "out"]), pick(random, &["x", "y"]));
        world.one_each &= !owners.contains(&owner);
        owners.push(owner);
        world.add_pod(random, index, owner);
    }
    let named = [("a", "x"), ("a", "y"), ("b", "x"), ("out", "x")];
    for (index, owner) in named.into_iter().enumerate() {
        world.add_service(random, index, owner);
    }
    world
}

impl World {
    fn add_pod(&mut self, random: &mut fastrand::Rng, index: usize, owner: (&str, &str)) {
        let (namespace, app) = owner;
        let on_node = namespace == "out" && random.bool();
        let mut addresses = vec![format!("10.0.0.{index}")];
        if random.bool() {
            addresses.push(format!("fd00::{index}"));
        }
        let container = match namespace == "out" && random.bool() {
            true => "istio-proxy",
            false => "c",
        };
        let ips: Vec<_> = addresses.iter().map(|a| format!("{{ip: '{a}'}}")).collect();
        writeln!(
            self.text,
            "- {{apiVersion: v1, kind: Pod, metadata: {{name: p{index}, namespace: {namespace}, labels: {{app: {app}}}}}, \
             spec: {{hostNetwork: {on_node}, serviceAccountName: {app}, containers: [{{name: {container}, ports: \
             [{{containerPort: 80}}, {{containerPort: 81}}]}}]}}, status: {{phase: Running, podIPs: [{}], conditions: \
             [{{type: Ready, status: 'True'}}]}}}}",
            ips.join(", ")
        )
        .unwrap();
        self.pods.push(Pod {
            name: format!("{namespace}/p{index}"),
            addresses,
            on_node,
        });
    }

    fn add_service(&mut self, random: &mut fastrand::Rng, index: usize, owner: (&str, &str)) {
        let (namespace, app) = owner;
        let headless = random.u8(..4) == 0;
        let address = match headless {
            true => "None".to_owned(),
            false => format!("10.96.0.{index}"),
        };
        let protocol = pick(random, &["http", "tcp"]);
        writeln!(
            self.text,
            "- {{apiVersion: v1, kind: Service, metadata: {{name: {app}, namespace: {namespace}}}, spec: {{clusterIP: \
             {address}, clusterIPs: [{address}], selector: {{app: {app}}}, ports: [{{name: {protocol}, port: 80, \
             targetPort: 80}}]}}}}"
        )
        .unwrap();
        if !headless {
            self.services.push(format!("{address}:80"));
        }
    }
}

fn a_document(random: &mut fastrand::Rng, name: &str) -> String {
    let namespace = pick(random, &["a", "b", "istio-system"]);
    let selected = match random.u8(..3) {
        0 if namespace != "istio-system" => "selector: {matchLabels: {app: x}}, ",
        _ => "",
    };
    let name = format!("{namespace}/{name}");
    match random.u8(..4) {
        0 => {
            let mode = pick(random, &MODES);
            let ports = match selected.is_empty() || random.bool() {
                true => String::new(),
                false => format!(
                    ", portLevelMtls: {{80: {{mode: {}}}}}",
                    pick(random, &MODES)
                ),
            };
            let spec = format!("{{{selected}mtls: {{mode: {mode}}}{ports}}}");
            document("PeerAuthentication", &name, &spec)
        }
        1 => {
            let action = pick(random, &["ALLOW", "DENY"]);
            let rule = match random.u8(..3) {
                0 => format!("from: [{{source: {{{}}}}}]", pick(random, &SOURCES)),
                1 => format!("when: [{}]", pick(random, &WHEN)),
                _ => "to: [{operation: {ports: ['80']}}]".to_owned(),
            };
            let spec = format!("{{{selected}action: {action}, rules: [{{{rule}}}]}}");
            document("AuthorizationPolicy", &name, &spec)
        }
        2 => {
            let (host, mode) = (pick(random, &HOSTS), pick(random, &SENT));
            let spec = format!("{{host: {host}, trafficPolicy: {{tls: {{mode: {mode}}}}}}}");
            document("DestinationRule", &name, &spec)
        }
        _ => {
            let (host, to) = (pick(random, &HOSTS[..5]), pick(random, &HOSTS[..6]));
            let list = pick(random, &["http", "tcp"]);
            let spec = format!(
                "{{hosts: [{host}], {list}: [{{route: [{{destination: {{host: {to}, port: {{number: 80}}}}}}]}}]}}"
            );
            document("VirtualService", &name, &spec)
        }
    }
}

/// A client, what it asks for, and what `explain` says of that before and after.
type Row = (String, String, [(Answer, Transport); 2]);

fn answers(world: &World, before: &Snapshot, after: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for client in &world.pods {
        let reached = |address: &&String| {
            let is_ipv6 = address.contains(':');
            client
                .addresses
                .iter()
                .any(|own| own.contains(':') == is_ipv6)
        };
        let others = world
            .pods
            .iter()
            .filter(|pod| pod.name != client.name && !pod.on_node);
        let addresses = others.flat_map(|pod| pod.addresses.iter().filter(reached));
        let own = addresses.flat_map(|a| {
            [80, 81].map(|port| match a.contains(':') {
                true => format!("[{a}]:{port}"),
                false => format!("{a}:{port}"),
            })
        });
        for asked in own.chain(world.services.iter().cloned()) {
            let said = [before, after].map(|snapshot| {
                let said = explain(snapshot, &client.name, &asked).unwrap();
                (said.verdict, said.transport)
            });
            rows.push((client.name.clone(), asked, said));
        }
    }
    rows
}

/// Which list tells of it.
fn list<'d>(diff: &'d Diff, [before, after]: &[(Answer, Transport); 2]) -> Option<&'d [Change]> {
    match (before, after) {
        ((Answer::Allow, _), (Answer::Deny, _)) => Some(&diff.cut),
        ((Answer::Deny, _), (Answer::Allow, _)) => Some(&diff.allowed),
        ((Answer::Allow, was), (Answer::Allow, Transport::Plaintext))
            if *was != Transport::Plaintext =>
        {
            Some(&diff.exposed)
        }
        _ => None,
    }
}

#[test]
fn what_is_told_is_what_explain_says() {
    let (mut told, mut one_each) = (0, 0);
    for seed in 0..CASES {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = world(&mut random);
        let present: Vec<_> = (0..random.usize(..3))
            .map(|n| {
                format!(
                    "---\n{}\n",
                    a_document(&mut random, &format!("present-{n}"))
                )
            })
            .collect();
        let document = a_document(&mut random, "candidate");
        let text = format!("{}{}", world.text, present.concat());
        let before = cluster(&text);
        let after = cluster(&format!("{text}---\n{document}\n"));
        let (policy, untried) = candidate(&before, &[&document], false);
        let diff = possible(&before, &policy, &untried);
        let case = || format!("seed {seed}: {document}\nto\n{text}\n{diff:#?}");
        let rows = answers(&world, &before, &after);
        for (client, asked, said) in &rows {
            let Some(list) = list(&diff, said) else {
                continue;
            };
            told += 1;
            // What a pod sends to itself is in clear, and nobody sees it.
            let is_inside = std::ptr::eq(list, &*diff.exposed)
                && diff
                    .elsewhere
                    .iter()
                    .any(|change| change.subject.client == *client);
            let found = list.iter().any(|change| change.subject.client == *client);
            assert!(found || is_inside, "{client} {asked} {said:?} {}", case());
        }
        if !world.one_each {
            continue;
        }
        one_each += 1;
        for list_of in [&diff.cut, &diff.allowed, &diff.exposed] {
            for change in list_of {
                let is_said = rows.iter().any(|(client, _, said)| {
                    *client == change.subject.client
                        && list(&diff, said).is_some_and(|list| std::ptr::eq(list, &**list_of))
                });
                let by_name =
                    change.subject.asked.is_some() || change.subject.after.route.is_some();
                assert!(is_said || by_name, "{change:#?} {}", case());
            }
        }
    }
    assert!(told > 500 && one_each > 50, "{told} {one_each}");
}
