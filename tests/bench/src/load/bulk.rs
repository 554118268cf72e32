//! Sends as fast as the path takes it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{Extent, Outcome};

/// What an application may well write at once.
const CHUNK: usize = 128 * 1024;

/// Sends on every stream, ends it, and waits until the server says how much has arrived: what is still in
/// some buffer does not count as sent.
pub(super) fn send(streams: Vec<TcpStream>, extent: Extent) -> Result<Outcome> {
    ensure!(!streams.is_empty(), "no open connections");
    let share = extent.amount / streams.len() as u64;
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(CHUNK)
        .collect();
    let start = Instant::now();
    let end = start + Duration::from_millis(extent.milliseconds);
    let arrived = thread::scope(|scope| {
        let threads: Vec<_> = streams
            .into_iter()
            .map(|stream| scope.spawn(|| send_one(stream, &content, share, end)))
            .collect();
        let mut arrived = 0;
        for thread in threads {
            arrived += thread.join().map_err(|_| anyhow!("a sender panicked"))??;
        }
        Ok::<_, anyhow::Error>(arrived)
    })?;
    Ok(Outcome {
        seconds: start.elapsed().as_secs_f64(),
        bytes: arrived,
        ..Outcome::default()
    })
}

fn send_one(mut stream: TcpStream, content: &[u8], share: u64, end: Instant) -> Result<u64> {
    let mut sent = 0;
    while sent < share && Instant::now() < end {
        let left = usize::try_from(share - sent).unwrap_or(usize::MAX);
        let chunk = &content[..left.min(content.len())];
        stream.write_all(chunk).context("sending")?;
        sent += chunk.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream
        .read_exact(&mut count)
        .context("the count of what arrived")?;
    let arrived = u64::from_be_bytes(count);
    ensure!(arrived == sent, "{sent} bytes sent, {arrived} arrived");
    Ok(arrived)
}
