//! The load process: reads jobs from standard input, does one at a time, answers each.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{Answer, Job, Outcome, Purpose, bulk, opening, server, talk, turnover};

/// The sub-command's name.
pub const NAME: &str = "load";

/// How long a connect, a read or a write may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections that are opened at the same time.
const OPENERS: usize = 8;

/// Serves jobs until standard input, which is a socket, is closed.
///
/// # Errors
/// When that socket fails.
pub fn run() -> Result<()> {
    let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    allow_many_connections()?;
    let mut answers = channel.try_clone()?;
    let mut open = Vec::new();
    for line in BufReader::new(channel).lines() {
        let job = serde_json::from_str(&line?)?;
        let answer = match perform(job, &mut open) {
            Ok(outcome) => Answer::Done(outcome),
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        let mut line = serde_json::to_string(&answer)?;
        line.push('\n');
        answers.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn perform(job: Job, open: &mut Vec<TcpStream>) -> Result<Outcome> {
    match job {
        Job::Serve { at } => server::start(at).map(|()| Outcome::default()),
        Job::Open {
            to,
            connections,
            purpose,
        } => {
            open.extend(connect_all(to, connections, purpose)?);
            Ok(Outcome::default())
        }
        Job::Bulk(extent) => bulk::send(std::mem::take(open), extent),
        Job::Talk(extent) => talk::talk(std::mem::take(open), extent),
        Job::Turnover {
            to,
            at_once,
            visit,
            extent,
        } => turnover::turn(to, at_once, visit, extent),
        Job::Close => {
            open.clear();
            Ok(Outcome::default())
        }
    }
}

/// In the pod's own network namespace: thousands of short connections leave their ports waiting (TIME_WAIT).
fn allow_many_connections() -> Result<()> {
    for (name, value) in [
        ("ip_local_port_range", "10000 65000"),
        ("tcp_tw_reuse", "1"),
    ] {
        let path = format!("/proc/sys/net/ipv4/{name}");
        fs::write(&path, value).with_context(|| path.clone())?;
    }
    Ok(())
}

fn connect_all(to: SocketAddr, connections: usize, purpose: Purpose) -> Result<Vec<TcpStream>> {
    let openers = OPENERS.min(connections);
    let shares = (0..openers).map(|opener| (connections + opener) / openers);
    thread::scope(|scope| {
        let threads: Vec<_> = shares
            .map(|share| {
                scope.spawn(move || (0..share).map(|_| greet(to, purpose)).collect::<Vec<_>>())
            })
            .collect();
        let mut streams = Vec::with_capacity(connections);
        for thread in threads {
            let opened = thread.join().map_err(|_| anyhow!("an opener panicked"))?;
            for stream in opened {
                streams.push(stream?);
            }
        }
        Ok(streams)
    })
}

fn greet(to: SocketAddr, purpose: Purpose) -> Result<TcpStream> {
    let mut stream = connect(to)?;
    let first = match purpose {
        Purpose::Bulk => opening::BULK,
        Purpose::Talk => opening::TALK,
    };
    stream.write_all(&[first]).context("greeting")?;
    let mut answer = [0];
    stream.read_exact(&mut answer).context("being greeted")?;
    ensure!(answer == [opening::GREETING], "greeted with {answer:?}");
    Ok(stream)
}

pub(super) fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).context("connecting")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
