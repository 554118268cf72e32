//! Connections that are opened, used once and closed.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{
    Extent, Outcome, REQUEST_LENGTH, RESPONSE_LENGTH, Visit, client::connect, latency::Latencies,
    opening,
};

/// A path that fails so often has broken down.
const MOST_FAILURES: u64 = 50;

/// Pays visits, `at_once` of them at a time, until the extent is reached.
pub(super) fn turn(
    to: SocketAddr,
    at_once: usize,
    visit: Visit,
    extent: Extent,
) -> Result<Outcome> {
    let (begun, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_millis(extent.milliseconds);
    let visitor = || {
        let mut latencies = Latencies::default();
        while begun.fetch_add(1, Relaxed) < extent.amount && Instant::now() < end {
            match pay(to, visit) {
                Ok(time) => latencies.push(time),
                Err(error) if failures.fetch_add(1, Relaxed) >= MOST_FAILURES => {
                    return Err(error.context(format!("more than {MOST_FAILURES} failures")));
                }
                Err(_) => {}
            }
        }
        Ok(latencies)
    };
    let mut latencies = thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(visitor)).collect();
        let mut all = Latencies::default();
        for thread in threads {
            all.append(thread.join().map_err(|_| anyhow!("a visitor panicked"))??);
        }
        Ok::<_, anyhow::Error>(all)
    })?;
    Ok(Outcome {
        seconds: start.elapsed().as_secs_f64(),
        operations: latencies.len() as u64,
        failures: failures.into_inner(),
        p50: latencies.percentile(50),
        p99: latencies.percentile(99),
        ..Outcome::default()
    })
}

/// How long it took from the connect to the answer.
fn pay(to: SocketAddr, visit: Visit) -> Result<Duration> {
    let start = Instant::now();
    let mut stream = connect(to)?;
    let mut answer = [0; RESPONSE_LENGTH];
    if visit == Visit::Greeting {
        stream.write_all(&[opening::TALK]).context("greeting")?;
        stream
            .read_exact(&mut answer[..1])
            .context("being greeted")?;
        return Ok(start.elapsed());
    }
    let mut request = [b'?'; 1 + REQUEST_LENGTH];
    request[0] = opening::REQUEST;
    stream.write_all(&request).context("asking")?;
    stream.read_exact(&mut answer).context("a response")?;
    let time = start.elapsed();
    stream.shutdown(Shutdown::Write)?;
    let more = stream.read(&mut answer).context("the end")?;
    ensure!(more == 0, "{more} bytes behind the response");
    Ok(time)
}
