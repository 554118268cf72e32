//! Candidates against flows of the lab.

use super::*;
use crate::{
    control::{Candidate, SourceText},
    policy::{Flow, Policy, Protection},
    workload::ObjectName,
};

const DENY: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-frontend, namespace: default}
spec:
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/web-frontend]}}]}]
";
const DISABLE: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: DISABLE}}
";
const PEER: &str = "PeerAuthentication/default/default";
pub(super) const FRONT: &str = "default/web-frontend-1";
pub(super) const OTHER: &str = "other-ns/sleep";

/// From a pod, or from an address that nobody has, to `customers`.
pub(super) fn flow(client: &str, mutual: bool) -> SeenFlow {
    let (name, address) = match client {
        FRONT => (Some(("default", "web-frontend-1")), "10.0.0.3"),
        OTHER => (Some(("other-ns", "sleep")), "10.0.1.9"),
        address => (None, address),
    };
    let principal = "spiffe://cluster.local/ns/default/sa/web-frontend";
    SeenFlow {
        flow: Flow {
            client: name.map(|(namespace, name)| ObjectName::new(namespace, name)),
            client_address: address.parse().unwrap(),
            server: ObjectName::new("default", "customers-1"),
            server_address: "10.0.1.2".parse().unwrap(),
            port: 3000,
            protection: if mutual {
                Protection::MutualTls {
                    client_principal: principal.parse().unwrap(),
                    sni: None,
                }
            } else {
                Protection::Plaintext
            },
        },
        connections: 2,
        refused: 0,
        open: 0,
        first_seen: None,
        last_seen: None,
    }
}

pub(super) fn tried(
    present: &[&str],
    candidate: &[&str],
    replace: bool,
    flows: impl IntoIterator<Item = SeenFlow>,
) -> Diff {
    let snapshot = snapshot(present);
    let (policy, untried) = self::candidate(&snapshot, candidate, replace);
    diff(&snapshot, &policy, &untried, flows)
}

/// Compiled over what a cluster has, and the hosts that there will be only then.
pub(super) fn candidate(
    snapshot: &Snapshot,
    documents: &[&str],
    replace: bool,
) -> (Policy, Vec<String>) {
    let text = documents.join("\n---\n");
    let name = "candidate.yaml".to_owned();
    let candidate = Candidate::read(&[SourceText { name, text }]).unwrap();
    let policy = candidate.compile(&Settings::of_tests(), &snapshot.documents, replace);
    (policy, candidate.untried())
}

/// The rows as lines: what happens, to whom, and by what.
pub(super) fn told(diff: &Diff) -> Vec<String> {
    let lists = [
        ("cut", &diff.cut),
        ("allowed", &diff.allowed),
        ("reconnecting", &diff.reconnecting),
        ("exposed", &diff.exposed),
        ("elsewhere", &diff.elsewhere),
        ("uncertain", &diff.uncertain),
    ];
    let line = |what: &str, change: &Change| {
        let Subject {
            client,
            before,
            after,
            ..
        } = &change.subject;
        let decisive = if what == "allowed" { before } else { after };
        format!(
            "{what} {client} {:?} {:?} {}",
            after.security,
            decisive.reason,
            decisive.decided_by.join(" ")
        )
    };
    let rows = lists.iter();
    rows.flat_map(|(what, list)| list.iter().map(|change| line(what, change)))
        .collect()
}

#[test]
fn candidates_against_flows() {
    let dry_run = DENY.replace(
        "namespace: default}",
        "namespace: default, annotations: {istio.io/dry-run: \"true\"}}",
    );
    let nothing: &[String] = &[];
    let strict = format!("Plaintext Some(PlaintextInStrict) {PEER}");
    let denied = "Some(AuthorizationDenied) AuthorizationPolicy/default/no-frontend";
    let allowing = "AuthorizationPolicy/default/allowed-customers-clients";
    let all = [
        flow(FRONT, true),
        flow(OTHER, false),
        flow("10.9.9.9", false),
    ];
    for (present, candidate, expected) in [
        // STRICT cuts plaintext, and not the mesh.
        (
            &[][..],
            STRICT,
            &[
                format!("cut 10.9.9.9 {strict}"),
                format!("cut {OTHER} {strict}"),
            ][..],
        ),
        (&[STRICT], STRICT, nothing),
        // PERMISSIVE in its place lets them in.
        (
            &[STRICT],
            &STRICT.replace("STRICT", "PERMISSIVE"),
            &[
                format!("allowed 10.9.9.9 {strict}"),
                format!("allowed {OTHER} {strict}"),
            ],
        ),
        (&[], DENY, &[format!("cut {FRONT} MutualTls {denied}")]),
        (&[], &dry_run, nothing),
        // The same document, only tried now: it is gone as far as connections are concerned.
        (
            &[DENY],
            &dry_run,
            &[format!("allowed {FRONT} MutualTls {denied}")],
        ),
        (
            &[],
            ALLOW,
            &[
                format!("cut 10.9.9.9 Plaintext Some(AuthorizationNotAllowed) {allowing}"),
                format!("cut {OTHER} Plaintext Some(AuthorizationNotAllowed) {allowing}"),
            ],
        ),
    ] {
        let diff = tried(present, &[candidate], false, all.clone());
        assert_eq!(told(&diff), expected, "{present:?} {candidate}");
        assert_eq!(diff.summary.flows, 3);
    }
}

#[test]
fn what_would_be_unencrypted_is_told() {
    let allowing = "AuthorizationPolicy/default/allowed-customers-clients";
    let refused = format!("cut {FRONT} Plaintext Some(AuthorizationNotAllowed) {allowing}");
    let exposed = format!("exposed {FRONT} Plaintext None {PEER}");
    // Without TLS nobody is a principal.
    for (present, expected) in [(&[ALLOW][..], refused), (&[], exposed)] {
        let flows = [flow(FRONT, true), flow(OTHER, false)];
        let diff = tried(present, &[DISABLE], false, flows);
        assert_eq!(told(&diff), [expected], "{present:?}");
    }
}

#[test]
fn without_a_deny_its_flows_are_newly_allowed() {
    let diff = tried(
        &[STRICT, DENY],
        &[STRICT],
        true,
        [flow(FRONT, true), flow(OTHER, false)],
    );
    let by = "AuthorizationPolicy/default/no-frontend";
    let expected = format!("allowed {FRONT} MutualTls Some(AuthorizationDenied) {by}");
    assert_eq!(told(&diff), [expected]);
    let sentence = format!(
        "DENY in namespace default ({by}) would no longer refuse 1 flow from 1 workload ({FRONT})"
    );
    assert_eq!(diff.summary.text, [sentence]);
}

#[test]
fn a_mesh_client_that_is_told_to_send_mutual_tls_is_not_cut() {
    let mut open = flow(FRONT, false);
    open.open = 1;
    let diff = tried(
        &[DISABLE],
        &[STRICT],
        false,
        [flow(FRONT, false), open, flow(OTHER, false)],
    );
    let expected = [
        format!("cut {OTHER} Plaintext Some(PlaintextInStrict) {PEER}"),
        format!("reconnecting {FRONT} MutualTls None {PEER}"),
    ];
    assert_eq!(told(&diff), expected);
    // One that sends plaintext though it is told otherwise already will not change its ways.
    let diff = tried(&[], &[STRICT], false, [flow(FRONT, false)]);
    assert_eq!(diff.cut.len(), 1);
}

#[test]
fn rules_for_clients_count_as_well() {
    let conflict = "Some(DestinationRuleConflict)";
    let rule = "DestinationRule/default/bad-rule";
    let strict = "Some(PlaintextInStrict)";
    for (present, candidate, expected) in [
        (
            STRICT,
            BAD_RULE,
            format!("cut {FRONT} Plaintext {strict} {PEER} {rule}"),
        ),
        (
            MUTUAL_RULE,
            DISABLE,
            format!("cut {FRONT} Plaintext {conflict} {PEER} DestinationRule/default/everything"),
        ),
    ] {
        let diff = tried(&[present], &[candidate], false, [flow(FRONT, true)]);
        assert_eq!(told(&diff), [expected], "{present} {candidate}");
    }
}

#[test]
fn alike_rows_are_one_and_servers_that_are_gone_are_left_out() {
    let mut gone = flow(OTHER, false);
    gone.flow.server = ObjectName::new("default", "nobody");
    let mut again = flow(OTHER, false);
    again.flow.server_address = "fd00::2".parse().unwrap();
    let diff = tried(&[], &[STRICT], false, [flow(OTHER, false), again, gone]);
    assert_eq!(diff.cut.len(), 1);
    assert_eq!(diff.cut[0].connections, 4);
    assert_eq!((diff.summary.flows, diff.summary.left_out), (3, 1));
    let sentence =
        format!("STRICT in namespace default ({PEER}) would cut 1 flow from 1 workload ({OTHER})");
    assert_eq!(diff.summary.text, [sentence]);
    let same = tried(&[], &[DENY], false, [flow(OTHER, false)]);
    assert_eq!(same.summary.text, ["nothing would change for 1 flow"]);
}

#[test]
fn documents_without_effect_are_told() {
    let younger = STRICT.replace("name: default", "name: younger");
    let older = STRICT.replace(
        "name: default",
        "name: default, creationTimestamp: \"2020-01-01T00:00:00Z\"",
    );
    let diff = tried(&[&older], &[&younger], false, []);
    assert_eq!(diff.warnings.len(), 1);
    assert!(diff.warnings[0].contains("PeerAuthentication/default/younger has no effect"));
}

/// Tries candidates on all that is possible.
pub(super) fn anything(present: &[&str], candidate: &[&str]) -> Diff {
    let snapshot = snapshot(present);
    let (policy, untried) = self::candidate(&snapshot, candidate, false);
    possible(&snapshot, &policy, &untried)
}

#[test]
fn a_directory_alone_makes_flows_of_its_pods_and_ports() {
    let diff = anything(&[], &[STRICT]);
    let cut = |client: &str| format!("cut {client} Plaintext Some(PlaintextInStrict) {PEER}");
    assert_eq!(told(&diff), ["other-ns/legacy-1", OTHER].map(cut));
    assert_eq!(diff.cut[0].connections, 0);
    // From each pod to the one with a port in the mesh, from that by its service; from those in the mesh to `legacy-1`.
    assert_eq!(diff.summary.flows, 5 + 3);
}

#[test]
fn what_was_mutual_tls_is_in_clear_now_where_that_is_not_taken() {
    // Seen before the mode was changed.
    let diff = tried(&[DISABLE], &[DENY], false, [flow(FRONT, true)]);
    assert_eq!(told(&diff), [""; 0]);
    assert!(diff.is_harmless());
    let diff = tried(&[DISABLE, DENY], &[STRICT], false, [flow(FRONT, true)]);
    let by = "AuthorizationPolicy/default/no-frontend";
    assert_eq!(
        told(&diff),
        [format!(
            "cut {FRONT} MutualTls Some(AuthorizationDenied) {by}"
        )]
    );
    let conflict = [DISABLE, MUTUAL_RULE];
    let diff = tried(&conflict, &[STRICT], false, [flow(FRONT, true)]);
    assert_eq!(diff.allowed.len(), 1, "{diff:?}");
}

#[test]
fn rows_are_bounded_and_counts_are_not() {
    let flows = (0..12_000_u32).map(|host| {
        let address = std::net::Ipv4Addr::from((172 << 24) + host);
        flow(&address.to_string(), false)
    });
    let diff = tried(&[], &[STRICT], false, flows);
    assert_eq!(
        (diff.cut.len(), diff.summary.cut, diff.summary.omitted),
        (10_000, 12_000, 2_000)
    );
    assert!(diff.summary.text[0].contains("would cut 12000 flows from 12000 clients"));
}
