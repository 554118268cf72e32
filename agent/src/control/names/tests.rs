use std::sync::Mutex;

use tokio::time::timeout;

use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[test]
fn an_address_is_remembered_for_a_while_and_a_failure_changes_nothing() {
    let mut known = Known::new(Instant::now());
    let now = Instant::now();
    known.learn("a.example", Ok(vec![address(1)]), now);
    known.learn("a.example", Ok(vec![address(2)]), now);
    known.learn("a.example", Err(io::ErrorKind::TimedOut.into()), now);
    assert_eq!(known.current, [address(2)]);
    assert_eq!(known.recent.len(), 2);
    known.learn(
        "a.example",
        Err(io::ErrorKind::TimedOut.into()),
        now + MEMORY,
    );
    assert!(known.recent.keys().eq([&address(2)]));
}

#[test]
fn of_too_many_addresses_the_oldest_are_forgotten() {
    let mut known = Known::new(Instant::now());
    let now = Instant::now();
    for last in 0..=u8::MAX {
        let of_pool = [203, 200, 210].map(|net| IpAddr::from([net, 0, 113, last]));
        let seen = now + Duration::from_millis(last.into());
        known.learn("a.example", Ok(of_pool.to_vec()), seen);
    }
    known.learn(
        "a.example",
        Ok(vec![address(1)]),
        now + Duration::from_secs(1),
    );
    assert_eq!(known.recent.len(), 2 * MOST);
    assert!(known.recent.contains_key(&address(1)));
    assert!(known.recent.contains_key(&IpAddr::from([210, 0, 113, 255])));
    assert!(!known.recent.contains_key(&IpAddr::from([210, 0, 113, 0])));
}

/// Hosts that begin so are never answered for, until they are let.
const HANGING: &str = "hanging";

type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

fn asker(asked: &Asked, released: &Arc<Mutex<bool>>) -> Asker {
    let (asked, released) = (Arc::clone(asked), Arc::clone(released));
    let resolve = move |host: &str| {
        *asked.lock().unwrap().entry(host.to_owned()).or_default() += 1;
        while host.starts_with(HANGING) && !*released.lock().unwrap() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(vec![address(1)])
    };
    Asker::new(Arc::new(resolve), Duration::from_millis(50))
}

#[tokio::test]
async fn hosts_that_are_never_answered_for_keep_nobody_waiting_and_are_asked_for_again() {
    const MILLISECOND: Duration = Duration::from_millis(1);
    let (asked, released) = (Asked::default(), Arc::default());
    let hanging = (0..100).map(|n| format!("{HANGING}{n:03}.example"));
    let good = (0..20).map(|n| format!("zzz{n}.example"));
    let (wanted, receiver) = watch::channel(good.collect::<BTreeSet<_>>());
    let asker = asker(&asked, &released);
    let (names, mut told) = Names::asking(receiver, asker, 10 * MILLISECOND);
    let running = tokio::spawn(names.run());
    let within = Duration::from_secs(20);
    let all = timeout(within, told.wait_for(|told| told.len() == 20)).await;
    drop(all.unwrap().unwrap());

    wanted.send_modify(|wanted| wanted.extend(hanging));
    let count = |host: &str| asked.lock().unwrap().get(host).copied().unwrap_or(0);
    // Far more often than if they waited for those that hang.
    let before = count("zzz7.example");
    tokio::time::sleep(1000 * MILLISECOND).await;
    let more = count("zzz7.example") - before;
    assert!(more >= 20, "asked for {more} times");

    *released.lock().unwrap() = true;
    let all = timeout(within, told.wait_for(|told| told.len() == 120)).await;
    assert!(all.is_ok(), "some are not asked for again");
    running.abort();
}

#[test]
fn a_host_that_is_silent_once_is_asked_for_again_at_once_and_then_less_and_less() {
    let seconds = [0, 1, 2, 3, 20].map(|silence| pause(INTERVAL, silence).as_secs());
    assert_eq!(seconds, [5, 0, 5, 15, 60]);
}
