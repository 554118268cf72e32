//! Request and response over connections that stay: each asks again as soon as it is answered.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
};

use super::{Extent, Outcome, REQUEST_LENGTH, RESPONSE_LENGTH, latency::Latencies};

/// A server that says nothing for so long is gone.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// Talks on every stream until the extent is reached.
pub(super) fn talk(streams: Vec<TcpStream>, extent: Extent) -> Result<Outcome> {
    ensure!(!streams.is_empty(), "no open connections");
    let threads = thread::available_parallelism()?.get().min(streams.len());
    let mut groups: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, stream) in streams.into_iter().enumerate() {
        stream.set_nonblocking(true)?;
        groups[index % threads].push(stream);
    }
    let budget = extent.amount / threads as u64;
    let start = Instant::now();
    let end = start + Duration::from_millis(extent.milliseconds);
    let mut latencies = thread::scope(|scope| {
        let threads: Vec<_> = groups
            .into_iter()
            .map(|group| scope.spawn(move || talk_all(group, budget, end)))
            .collect();
        let mut all = Latencies::default();
        for thread in threads {
            all.append(thread.join().map_err(|_| anyhow!("a talker panicked"))??);
        }
        Ok::<_, anyhow::Error>(all)
    })?;
    Ok(Outcome {
        seconds: start.elapsed().as_secs_f64(),
        operations: latencies.len() as u64,
        p50: latencies.percentile(50),
        p99: latencies.percentile(99),
        ..Outcome::default()
    })
}

/// A connection and the answer that it waits for.
struct Talker {
    stream: TcpStream,
    asked: Instant,
    received: usize,
}

fn talk_all(streams: Vec<TcpStream>, budget: u64, end: Instant) -> Result<Latencies> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut talkers = Vec::with_capacity(streams.len());
    for (index, stream) in streams.into_iter().enumerate() {
        epoll::add(
            &epoll,
            &stream,
            EventData::new_u64(index as u64),
            EventFlags::IN,
        )?;
        let mut talker = Talker {
            stream,
            asked: Instant::now(),
            received: 0,
        };
        talker.ask()?;
        talkers.push(talker);
    }
    let (mut waiting, mut asked) = (talkers.len(), talkers.len() as u64);
    let mut latencies = Latencies::default();
    let mut events = Vec::with_capacity(talkers.len());
    while waiting > 0 {
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&PATIENCE))?;
        ensure!(
            !events.is_empty(),
            "{waiting} requests stay without a response"
        );
        for event in events.drain(..) {
            let talker = usize::try_from(event.data.u64()).ok();
            let talker = talker.and_then(|index| talkers.get_mut(index));
            let talker = talker.context("an event of no connection")?;
            let Some(time) = talker.listen()? else {
                continue;
            };
            latencies.push(time);
            if asked < budget && Instant::now() < end {
                talker.ask()?;
                asked += 1;
            } else {
                waiting -= 1;
            }
        }
    }
    Ok(latencies)
}

impl Talker {
    fn ask(&mut self) -> Result<()> {
        self.received = 0;
        self.asked = Instant::now();
        // One request at a time always finds room in the socket's buffer.
        self.stream
            .write_all(&[b'?'; REQUEST_LENGTH])
            .context("asking")
    }

    /// How long the answer took, once it is whole.
    fn listen(&mut self) -> Result<Option<Duration>> {
        let mut buffer = [0; RESPONSE_LENGTH];
        match self.stream.read(&mut buffer[self.received..]) {
            Ok(0) => Err(anyhow!("the connection ended instead of a response")),
            Ok(length) => {
                self.received += length;
                Ok((self.received == RESPONSE_LENGTH).then(|| self.asked.elapsed()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("a response"),
        }
    }
}
