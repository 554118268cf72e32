//! What of an established connection a change leaves, and what not.

use rustls::CipherSuite;

use super::*;
use crate::proxy::gateway::testing::{GATEWAY, entrance, entrance_to, route, service};

const PASSED: &str = "tls: [{match: [{sniHosts: [a.example]}], ";

fn objection(entrance: &Entrance, admission: &Admission) -> Option<CutReason> {
    entrance.objection(admission, &mut Decided::default())
}

fn admitted(entrance: &Entrance, port: u16, name: Option<&str>) -> Admission {
    let asked = Asked {
        port,
        name: name.map(Into::into),
        address: "10.0.0.9".parse().unwrap(),
    };
    let way = entrance.way(&asked).unwrap().unwrap();
    let shown = matches!(way.work, Work::Terminate(_)).then(|| {
        Arc::new(Shown {
            agreed: Agreed {
                version: ProtocolVersion::TLSv1_2,
                suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                certificates: None,
            },
            chain: None,
            host: None,
        })
    });
    let endpoint = way.candidates[0];
    Admission::new(&asked, &way, shown.as_ref(), endpoint, entrance)
}

#[test]
fn routes_and_servers() {
    let web = route("a", "a.example", PASSED, "web");
    let other = route("a", "a.example", PASSED, "other");
    let more = route("b", "b.example", "http: [{", "other");
    let before = entrance(&[GATEWAY, &web]);
    let admission = admitted(&before, 443, Some("a.example"));
    let gone = Some(CutReason::RouteGone);
    let without = GATEWAY.replace("number: 443", "number: 444");
    let terminated = GATEWAY.replace("PASSTHROUGH", "SIMPLE, credentialName: c");
    for (what, documents, expected) in [
        ("the same", &[GATEWAY, &web][..], None),
        ("something else", &[GATEWAY, &web, &more], None),
        ("no route", &[GATEWAY, &more], gone),
        ("elsewhere", &[GATEWAY, &other], gone),
        ("no server", &[&without, &web], gone),
        ("TLS ends here", &[&terminated, &web], gone),
        ("no gateway", &[&web], gone),
    ] {
        assert_eq!(
            objection(&entrance(documents), &admission),
            expected,
            "{what}"
        );
    }
    let unready = [service("web", 1, false), service("other", 2, true)];
    let unready = entrance_to(&unready, &[GATEWAY, &web]);
    assert_eq!(
        objection(&unready, &admission),
        None,
        "its pod is not ready"
    );
    let asked = admission.asked.clone();
    assert!(unready.way(&asked).is_err());
    let moved = [service("web", 3, true), service("other", 2, true)];
    let moved = entrance_to(&moved, &[GATEWAY, &web]);
    let way = moved.way(&asked).unwrap().unwrap();
    assert!(!moved.allows(&admission, &way), "another address");
    let way = before.way(&asked).unwrap().unwrap();
    assert!(before.allows(&admission, &way));
}

#[test]
fn what_goes_on_in_clear() {
    let web = route("a", "a.example", PASSED, "web");
    let admission = admitted(&entrance(&[GATEWAY, &web]), 443, Some("a.example"));
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                  metadata: {name: d, namespace: shop}\nspec: {mtls: {mode: STRICT}}";
    let next = entrance(&[GATEWAY, &web, strict]);
    assert_eq!(objection(&next, &admission), Some(CutReason::BecameStrict));
}

#[test]
fn hosts_of_requests() {
    let (web, other) = (
        route("a", "*", "http: [{", "web"),
        route("b", "b.example", "http: [{", "other"),
    );
    let before = entrance(&[GATEWAY, &web]);
    let (unnamed, named) = (
        admitted(&before, 80, None),
        admitted(&before, 80, Some("b.example")),
    );
    let next = entrance(&[GATEWAY, &web, &other]);
    assert_eq!(
        objection(&next, &unnamed),
        None,
        "nobody has looked at its host"
    );
    assert_eq!(objection(&next, &named), Some(CutReason::RouteGone));
    let next = entrance(&[GATEWAY, &other]);
    assert_eq!(objection(&next, &unnamed), Some(CutReason::RouteGone));
    let redirect = GATEWAY.replace(
        "hosts: [\"*\"]}",
        "hosts: [\"*\"], tls: {httpsRedirect: true}}",
    );
    let next = entrance(&[&redirect, &web]);
    assert_eq!(objection(&next, &unnamed), Some(CutReason::RouteGone));
}

#[test]
fn tls_of_clients() {
    let web = route("a", "*", "http: [{", "web");
    let before = entrance(&[GATEWAY, &web]);
    let admission = admitted(&before, 8443, Some("a.example"));
    let with = |mode: &str| {
        let gateway = GATEWAY.replace("mode: SIMPLE", mode);
        objection(&entrance(&[&gateway, &web]), &admission)
    };
    assert_eq!(
        with("mode: SIMPLE"),
        None,
        "without the credential's Secret"
    );
    assert_eq!(with("mode: OPTIONAL_MUTUAL"), None);
    assert_eq!(with("mode: MUTUAL"), Some(CutReason::Untrusted));
    let settings = Some(CutReason::TlsSettings);
    assert_eq!(with("mode: SIMPLE, minProtocolVersion: TLSV1_3"), settings);
    let suites = |suite: &str| with(&format!("mode: SIMPLE, cipherSuites: [{suite}]"));
    assert_eq!(suites("ECDHE-ECDSA-AES256-GCM-SHA384"), settings);
    assert_eq!(suites("ECDHE-ECDSA-AES128-GCM-SHA256"), None);
}

#[test]
fn nobody_is_in_clear_where_tls_ends() {
    let web = route("a", "*", "http: [{", "web");
    let entrance = entrance(&[GATEWAY, &web]);
    let secured = admitted(&entrance, 8443, Some("a.example"));
    assert_eq!(objection(&entrance, &secured), None);
    let clear = Admission {
        shown: None,
        ..secured
    };
    assert_eq!(objection(&entrance, &clear), Some(CutReason::RouteGone));
}
