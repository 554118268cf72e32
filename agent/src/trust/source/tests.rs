use std::{sync::mpsc, thread};

use super::*;

/// A reader of a watch that reads again before it has let go waits for a sender, which waits for it.
#[test]
fn roots_may_change_while_anchors_are_put_together() {
    const TURNS: usize = 20_000;
    let (own, roots) = watch::channel(Arc::new(TrustBundle::default()));
    let config = TrustConfig {
        domain: "cluster.local".parse().unwrap(),
        aliases: Vec::new(),
        federated: Vec::new(),
        endpoint_authorities: None,
        revocation_lists: Vec::new(),
    };
    let (trust, _reader) = Trust::open(config, roots).unwrap();
    let (done, ended) = mpsc::channel();
    let changed = done.clone();
    thread::spawn(move || {
        (0..TURNS).for_each(|_| own.send_modify(|_| {}));
        changed.send(())
    });
    thread::spawn(move || {
        (0..TURNS).for_each(|_| trust.publish());
        done.send(())
    });
    for _ in 0..2 {
        let ended = ended.recv_timeout(Duration::from_secs(60));
        ended.expect("one waits for the other");
    }
}
