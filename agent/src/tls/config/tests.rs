use std::sync::RwLock;

use super::*;
use crate::tls::testing::{Pki, id, pki};

struct Changing(RwLock<Pki>);

impl Credentials for Changing {
    fn svid(&self, id: &SpiffeId) -> Option<Arc<Svid>> {
        self.0.read().unwrap().svid(id)
    }

    fn anchors(&self) -> Arc<TrustAnchors> {
        self.0.read().unwrap().anchors()
    }
}

#[test]
fn keys_of_certificates_that_are_taken_back_are_forgotten() {
    let credentials = Arc::new(Changing(RwLock::new(pki())));
    let shared = Arc::clone(&credentials) as Arc<dyn Credentials>;
    let configs = TlsConfigs::new(shared, &Suites::preferring(&[]), ClientFiles::Anywhere);
    for account in ["web", "customer"] {
        configs.server(&id(account)).unwrap();
        configs.client(&id(account), &id("other")).unwrap();
    }
    configs.retain_current();
    let kept = |account: &str| {
        let servers = configs.servers.0.lock().unwrap();
        let clients = configs.clients.0.lock().unwrap();
        let key = (id(account), id("other"));
        (
            servers.made.contains_key(&id(account)),
            clients.made.contains_key(&key),
        )
    };
    assert_eq!(kept("web"), (true, true));
    let withdrawn = credentials.0.write().unwrap().svids.remove(0);
    configs.retain_current();
    assert_eq!(kept("web"), (false, false));
    assert_eq!(kept("customer"), (true, true));
    assert_eq!(Arc::strong_count(&withdrawn.certified), 1);
}

#[test]
fn no_handshake_brings_back_a_key_that_was_forgotten() {
    let configs = TlsConfigs::new(
        Arc::new(pki()),
        &Suites::preferring(&[]),
        ClientFiles::Anywhere,
    );
    let kept = || {
        let servers = configs.servers.0.lock().unwrap().made.len();
        (servers, configs.clients.0.lock().unwrap().made.len())
    };
    let shake = || {
        configs.server(&id("web")).unwrap();
        configs.client(&id("web"), &id("customer")).unwrap();
    };
    shake();
    assert_eq!(kept(), (1, 1), "before anybody has said who is wanted");
    configs.retain(HashSet::from([id("web")]), HashSet::new());
    shake();
    assert_eq!(kept(), (1, 1));
    configs.retain(HashSet::from([id("customer")]), HashSet::new());
    assert_eq!(kept(), (0, 0));
    shake();
    assert_eq!(kept(), (0, 0), "a handshake that had begun before");
}
