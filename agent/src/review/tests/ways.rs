//! Candidates with VirtualServices: where flows would be sent.

use super::{
    diff::{FRONT, OTHER, anything, flow, told, tried},
    *,
};
use crate::policy::Protection;

const CUSTOMERS: &str = "outbound_.80_._.customers.default.svc.cluster.local";
/// In the mesh as well.
const ANOTHER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: another-1, namespace: default, labels: {app: another}}
spec: {serviceAccountName: another, containers: [{name: c}]}
status: {podIP: 10.0.1.7}
---
apiVersion: v1
kind: Service
metadata: {name: another, namespace: default}
spec: {clusterIP: 10.96.0.9, selector: {app: another}, ports: [{name: http, port: 80, targetPort: 3000}]}
";
const NOBODY: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: default}
spec: {selector: {matchLabels: {app: another}}}
";

fn sent(host: &str, to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: r-{host}, namespace: default}}\n\
         spec: {{hosts: [{host}], http: [{{route: [{{destination: {to}}}]}}]}}\n"
    )
}

/// Over mutual TLS, to the service of this name.
fn named(name: Option<&str>) -> SeenFlow {
    let mut seen = flow(FRONT, true);
    if let Protection::MutualTls { sni, .. } = &mut seen.flow.protection {
        *sni = name.map(Into::into);
    }
    seen
}

#[test]
fn a_flow_whose_service_is_known_goes_where_the_candidate_sends_it() {
    let by = "VirtualService/default/r-customers";
    let nowhere = format!("cut {FRONT} Plaintext Some(Route) {by}");
    let sent = |to: &str| sent("customers", to);
    for (candidate, expected) in [
        (
            sent("{host: another}"),
            format!("elsewhere {FRONT} MutualTls None {by}"),
        ),
        (
            format!("{}---\n{NOBODY}", sent("{host: another}")),
            format!("cut {FRONT} MutualTls Some(Route) AuthorizationPolicy/default/nobody {by}"),
        ),
        (
            sent("{host: legacy.other-ns.svc.cluster.local}"),
            format!("exposed {FRONT} Plaintext None {by}"),
        ),
        (sent("{host: gone}"), nowhere.clone()),
        (sent("{host: customers, subset: v2}"), nowhere),
        (sent("{host: customers}"), String::new()),
        (
            sent("{host: another}").replace("{route:", "{match: [{port: 81}], route:"),
            String::new(),
        ),
        (
            sent("{host: another}")
                .replace("{route:", "{match: [{sourceLabels: {app: x}}], route:"),
            String::new(),
        ),
        (
            sent("{host: another}").replace("http:", "tcp:"),
            String::new(),
        ),
    ] {
        let diff = tried(&[ANOTHER], &[&candidate], false, [named(Some(CUSTOMERS))]);
        assert_eq!(told(&diff).join(""), expected, "{candidate}");
        let sentence = &diff.summary.text[0];
        assert_eq!(
            sentence.starts_with("nothing"),
            expected.is_empty(),
            "{sentence}"
        );
    }
    let diff = tried(
        &[ANOTHER],
        &[&sent("{host: another}")],
        false,
        [named(Some(CUSTOMERS))],
    );
    let route = diff.elsewhere[0].subject.after.route.clone().unwrap();
    assert_eq!(route.asked, "customers.default.svc.cluster.local:80");
    let to = route.to.unwrap();
    assert_eq!(to, "another.default.svc.cluster.local:80");
    assert!(diff.is_harmless());
}

#[test]
fn what_is_not_known_is_told_as_such() {
    let elsewhere = sent("customers", "{host: another}");
    let nowhere = sent("customers", "{host: gone}");
    let entry = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: \
                 default}\nspec: {hosts: [new.example], resolution: STATIC, addresses: [192.0.2.1], ports: [{number: \
                 80, name: http, protocol: HTTP}], endpoints: [{address: 192.0.2.1}]}\n";
    let to_new = sent("customers", "{host: new.example}") + entry;
    let by = "VirtualService/default/r-customers";
    // The pod's own address, which no VirtualService is about, or the service: in clear nobody can tell.
    let open = flow(FRONT, false);
    for (present, candidate, seen, expected) in [
        (
            ANOTHER,
            &elsewhere,
            open.clone(),
            format!("uncertain {FRONT} MutualTls None {by}"),
        ),
        (
            ANOTHER,
            &nowhere,
            open,
            format!("uncertain {FRONT} Plaintext Some(Route) {by}"),
        ),
        (
            ANOTHER,
            &to_new,
            named(Some(CUSTOMERS)),
            format!("uncertain {FRONT} MutualTls Some(Route) {by}"),
        ),
        // By the pod's address, and without an agent.
        (ANOTHER, &nowhere, named(None), String::new()),
        (ANOTHER, &nowhere, flow(OTHER, false), String::new()),
        (ANOTHER, &nowhere, flow("10.9.9.9", false), String::new()),
    ] {
        let diff = tried(&[present], &[candidate], false, [seen]);
        assert_eq!(told(&diff).join(""), expected, "{candidate}");
        let refused = expected.contains("Some(Route)");
        assert_eq!(diff.is_harmless(), !refused, "{candidate}");
    }
}

#[test]
fn another_host_may_have_led_there() {
    let to_customers = sent("another", "{host: customers}");
    let to_another = sent("customers", "{host: another}");
    let present = [ANOTHER, &to_customers];
    let candidate = sent("another", "{host: gone}");
    let seen = || [named(Some(CUSTOMERS))];
    let diff = tried(&present, &[&candidate], false, seen());
    let by = "VirtualService/default/r-another";
    let expected = format!("uncertain {FRONT} Plaintext Some(Route) {by}");
    assert_eq!(told(&diff), [expected]);
    // Whoever was led to `customers` has asked for `another`, if `customers` leads elsewhere.
    let swapped = [ANOTHER, &to_customers, &to_another];
    let diff = tried(&swapped, &[&candidate], false, seen());
    assert_eq!(
        told(&diff),
        [format!("cut {FRONT} Plaintext Some(Route) {by}")]
    );
}

#[test]
fn of_several_ways_the_one_in_clear_is_told() {
    let present = [ANOTHER, &sent("another", "{host: customers}")];
    let in_clear = "{host: legacy.other-ns.svc.cluster.local}";
    let by = "VirtualService/default/r-customers";
    let candidate = sent("customers", in_clear) + "---\n" + &sent("another", "{host: another}");
    let diff = tried(&present, &[&candidate], false, [named(Some(CUSTOMERS))]);
    assert_eq!(
        told(&diff),
        [format!("exposed {FRONT} Plaintext None {by}")]
    );
    // Nobody knows whether it was `another` that its client has asked for.
    let candidate = sent("another", in_clear);
    let diff = tried(&present, &[&candidate], false, [named(Some(CUSTOMERS))]);
    let by = "VirtualService/default/r-another";
    assert_eq!(
        told(&diff),
        [format!("uncertain {FRONT} Plaintext None {by}")]
    );
    assert!(!diff.is_harmless());
}

#[test]
fn of_a_directory_all_ways_are_tried() {
    let diff = anything(&[ANOTHER], &[&sent("customers", "{host: gone}")]);
    // All in the mesh, also the server itself; the others have no agent.
    let clients: Vec<_> = diff
        .cut
        .iter()
        .map(|change| change.subject.client.as_str())
        .collect();
    let expected = ["default/another-1", "default/customers-1", "default/sleep"];
    assert_eq!(clients, [&expected[..], &[FRONT]].concat());
}

#[test]
fn what_a_pod_sends_to_itself_is_not_exposed() {
    let diff = anything(&[ANOTHER], &[&sent("customers", "{host: another}")]);
    let by = "VirtualService/default/r-customers";
    let expected = format!("elsewhere default/another-1 Plaintext None {by}");
    assert!(told(&diff).contains(&expected), "{:?}", told(&diff));
    assert!(diff.exposed.is_empty());
}
