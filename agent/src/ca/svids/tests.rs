use std::{
    sync::atomic::{AtomicU32, AtomicU64},
    time::UNIX_EPOCH,
};

use rustls::sign::CertifiedKey;

use super::*;
use crate::{ca::EmbeddedCa, telemetry::IssueFailure};

/// Issues without work; fails while told to.
struct Stub {
    life: Duration,
    failing: AtomicBool,
    /// Not only away: it has taken back what it gave.
    withdrawing: AtomicBool,
    issued: AtomicU32,
    key: Arc<CertifiedKey>,
}

#[derive(Debug, thiserror::Error)]
enum Away {
    #[error("the CA is away")]
    Silent,
    #[error("not any more")]
    Withdrawn,
}

const LIFE: Duration = Duration::from_secs(3600);

impl Issue for Arc<Stub> {
    type Error = Away;

    async fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, Away> {
        if self.withdrawing.load(Ordering::Relaxed) {
            return Err(Away::Withdrawn);
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err(Away::Silent);
        }
        let serial = self.issued.fetch_add(1, Ordering::Relaxed);
        Ok(Svid {
            id: id.clone(),
            certified: Arc::clone(&self.key),
            not_before: now,
            not_after: now + self.life,
            serial: serial.to_string(),
        })
    }

    fn reason(_: &Away) -> IssueFailure {
        IssueFailure::Unreachable
    }

    fn is_withdrawal(error: &Away) -> bool {
        matches!(error, Away::Withdrawn)
    }
}

struct Bench {
    stub: Arc<Stub>,
    svids: Svids<Arc<Stub>>,
    reader: SvidReader,
    metrics: Metrics,
    /// Milliseconds since the start.
    elapsed: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        let elapsed = Arc::new(AtomicU64::new(0));
        let (stub, metrics) = (stub(LIFE), Metrics::new().unwrap());
        let read = Arc::clone(&elapsed);
        let clock: Clock = Arc::new(move || {
            let elapsed = Duration::from_millis(read.load(Ordering::Relaxed));
            UNIX_EPOCH + Duration::from_secs(86_400) + elapsed
        });
        let svids = Svids::new(Arc::clone(&stub), clock, metrics.clone());
        Self {
            stub,
            reader: svids.reader(),
            svids,
            metrics,
            elapsed,
        }
    }

    /// What the task does when `time` passes.
    async fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let next = self
                .svids
                .until_next_due()
                .max(Duration::from_millis(1))
                .min(left);
            left -= next;
            let millis = u64::try_from(next.as_nanos().div_ceil(1_000_000)).unwrap();
            self.elapsed.fetch_add(millis, Ordering::Relaxed);
            self.svids.renew_due().await;
        }
    }
}

fn stub(life: Duration) -> Arc<Stub> {
    let dir = tempfile::tempdir().unwrap();
    let domain = "cluster.local".parse().unwrap();
    let ca = EmbeddedCa::open(dir.path(), &domain, LIFE).unwrap();
    let key = EmbeddedCa::issue(&ca, &id("any"), SystemTime::now())
        .unwrap()
        .certified;
    Arc::new(Stub {
        life,
        failing: false.into(),
        withdrawing: false.into(),
        issued: 0.into(),
        key,
    })
}

fn id(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
        .parse()
        .unwrap()
}

fn ids(accounts: &[&str]) -> HashSet<SpiffeId> {
    accounts.iter().map(|a| id(a)).collect()
}

#[tokio::test]
async fn wanted_identities_have_an_svid_at_once_and_lose_it_when_gone() {
    let bench = Bench::new();
    bench.svids.want(&ids(&["a", "b"])).await;
    assert!(bench.reader.get(&id("a")).is_some() && bench.reader.get(&id("b")).is_some());
    bench.svids.want(&ids(&["b", "c"])).await;
    assert!(bench.reader.get(&id("a")).is_none() && bench.reader.get(&id("c")).is_some());
    assert_eq!(bench.stub.issued.load(Ordering::Relaxed), 3);
    let text = bench.metrics.render();
    assert!(!text.contains("sa/a\"") && text.contains("sa/b\"") && text.contains("sa/c\""));
}

#[tokio::test]
async fn svids_are_renewed_between_half_and_five_eighths_of_their_life() {
    let bench = Bench::new();
    bench.svids.want(&ids(&["a"])).await;
    bench.pass(LIFE.mul_f64(0.49)).await;
    assert_eq!(bench.reader.get(&id("a")).unwrap().serial, "0");
    bench.pass(LIFE.mul_f64(0.14)).await;
    assert_eq!(bench.reader.get(&id("a")).unwrap().serial, "1");
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_old_and_is_visible() {
    let bench = Bench::new();
    bench.svids.want(&ids(&["a"])).await;
    bench.stub.failing.store(true, Ordering::Relaxed);
    bench.pass(LIFE.mul_f64(0.8)).await;
    assert_eq!(bench.reader.get(&id("a")).unwrap().serial, "0");
    assert!(!bench.svids.healthy());
    let status = &bench.svids.list()[0];
    assert_eq!(status.state, SvidState::Valid);
    assert_eq!(status.last_error.as_deref(), Some("the CA is away"));
    assert!(bench.metrics.render().contains("sealane_ca_healthy 0"));

    bench.stub.failing.store(false, Ordering::Relaxed);
    bench.pass(Duration::from_secs(61)).await;
    assert_eq!(bench.reader.get(&id("a")).unwrap().serial, "1");
    assert!(bench.svids.healthy() && bench.svids.list()[0].last_error.is_none());
}

#[tokio::test]
async fn expired_svids_are_not_handed_out() {
    let bench = Bench::new();
    bench.svids.want(&ids(&["a"])).await;
    bench.stub.failing.store(true, Ordering::Relaxed);
    bench.pass(LIFE - Duration::from_secs(1)).await;
    assert!(bench.reader.get(&id("a")).is_some());
    bench.pass(Duration::from_secs(1)).await;
    assert!(bench.reader.get(&id("a")).is_none());
    assert_eq!(bench.svids.list()[0].state, SvidState::Expired);
}

#[tokio::test]
async fn what_is_missing_is_tried_again_within_seconds() {
    let bench = Bench::new();
    bench.stub.failing.store(true, Ordering::Relaxed);
    bench.svids.want(&ids(&["a"])).await;
    assert_eq!(bench.svids.list()[0].state, SvidState::Missing);
    bench.pass(Duration::from_secs(120)).await;
    bench.stub.failing.store(false, Ordering::Relaxed);
    bench.pass(Duration::from_secs(6)).await;
    assert!(bench.reader.get(&id("a")).is_some());
    // Pauses grow to five seconds: no more than a try every 2.5 s.
    let text = bench.metrics.render();
    let failed = text
        .lines()
        .find(|l| l.starts_with("sealane_certificate_refresh_total{result=\"error\"}"));
    let count: u32 = failed
        .and_then(|l| l.rsplit(' ').next())
        .unwrap()
        .parse()
        .unwrap();
    assert!((20..60).contains(&count), "{count}");
}

#[tokio::test]
async fn renewals_of_many_are_spread() {
    let bench = Bench::new();
    let names: Vec<_> = (0..200).map(|n| format!("sa-{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    bench.svids.want(&ids(&names)).await;
    bench.pass(LIFE.mul_f64(0.5625)).await;
    let renewed = bench.stub.issued.load(Ordering::Relaxed) - 200;
    assert!((60..140).contains(&renewed), "{renewed}");
}

#[tokio::test]
async fn the_task_renews_by_itself_and_stops_when_told() {
    let clock: Clock = Arc::new(SystemTime::now);
    let stub = stub(Duration::from_millis(400));
    let svids = Arc::new(Svids::new(stub, clock, Metrics::new().unwrap()));
    let (stop, runner, reader) = (CancellationToken::new(), Arc::clone(&svids), svids.reader());
    let stopped = stop.clone();
    let task = tokio::spawn(async move { runner.run(stopped).await });
    svids.want(&ids(&["a"])).await;
    let renewed = async {
        while reader.get(&id("a")).is_none_or(|svid| svid.serial == "0") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed)
        .await
        .unwrap();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn what_is_taken_back_is_not_used_any_more() {
    let bench = Bench::new();
    bench.svids.want(&ids(&["a"])).await;
    bench.stub.withdrawing.store(true, Ordering::Relaxed);
    bench.svids.hurry(&ids(&["a", "unknown"]));
    bench.pass(Duration::from_millis(1)).await;
    assert!(bench.reader.get(&id("a")).is_none());
    assert_eq!(bench.svids.list()[0].state, SvidState::Missing);
    assert!(!bench.metrics.render().contains("sa/a\""));
    bench.stub.withdrawing.store(false, Ordering::Relaxed);
    bench.svids.hurry(&ids(&["a"]));
    bench.pass(Duration::from_millis(1)).await;
    assert!(bench.reader.get(&id("a")).is_some());
}

#[tokio::test]
async fn an_svid_that_comes_late_in_its_life_is_looked_after_in_what_is_left() {
    let bench = Bench::new();
    bench.svids.want(&ids(&["a"])).await;
    let now = (bench.svids.clock)();
    let mut held = Held::missing(now);
    let svid = bench.reader.get(&id("a")).unwrap();
    let svid = Svid {
        not_before: now - LIFE,
        not_after: now + LIFE / 10,
        ..Svid::clone(&svid)
    };
    held.renewed(Arc::new(svid), now, 0.0);
    assert_eq!(held.due_at(), now + LIFE / 20);
}

/// Answers with what it knew when it was asked, when it is let.
struct Late(Arc<Stub>, tokio::sync::Semaphore);

impl Issue for Arc<Late> {
    type Error = Away;

    async fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, Away> {
        let answer = self.0.issue(id, now).await;
        self.1.acquire().await.unwrap().forget();
        answer
    }

    fn reason(error: &Away) -> IssueFailure {
        Arc::<Stub>::reason(error)
    }

    fn is_withdrawal(error: &Away) -> bool {
        Arc::<Stub>::is_withdrawal(error)
    }
}

#[tokio::test]
async fn what_is_taken_back_while_it_comes_is_not_used() {
    let late = Arc::new(Late(stub(LIFE), tokio::sync::Semaphore::new(0)));
    let clock: Clock = Arc::new(SystemTime::now);
    let svids = Svids::new(Arc::clone(&late), clock, Metrics::new().unwrap());
    let svids = Arc::new(svids);
    let asking = Arc::clone(&svids);
    let asking = tokio::spawn(async move { asking.want(&ids(&["a"])).await });
    while late.0.issued.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    late.0.withdrawing.store(true, Ordering::Relaxed);
    svids.hurry(&ids(&["a"]));
    late.1.add_permits(2);
    asking.await.unwrap();
    svids.renew_due().await;
    assert!(svids.reader().get(&id("a")).is_none());
}
