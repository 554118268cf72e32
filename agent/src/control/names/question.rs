//! One question to the system's resolver, which can't be taken back: its thread is kept until the resolver gives up, however
//! long that takes. Threads are few, so that those who never get an answer leave some to others.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::Answer;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions that nobody waits for any more are among them.
const THREADS: usize = 48;

/// More of them, for hosts that were answered for last time.
const RESERVED: usize = 16;

type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

pub(super) struct Asker {
    pub(super) resolve: Arc<Resolve>,
    pub(super) patience: Duration,
    threads: Threads,
}

/// Room for more.
#[derive(Clone)]
struct Threads {
    all: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

impl Default for Asker {
    fn default() -> Self {
        Self::new(Arc::new(resolve), PATIENCE)
    }
}

impl Asker {
    pub(super) fn new(resolve: Arc<Resolve>, patience: Duration) -> Self {
        Self {
            resolve,
            patience,
            threads: Threads {
                all: Arc::new(Semaphore::new(THREADS)),
                reserved: Arc::new(Semaphore::new(RESERVED)),
            },
        }
    }

    /// Gives up after a while. `proven`: the last question for this host was answered.
    pub(super) fn ask(&self, name: String, proven: bool) -> impl Future<Output = Answer> + use<> {
        let (resolve, threads) = (Arc::clone(&self.resolve), self.threads.clone());
        let patience = self.patience;
        async move {
            let host = name.clone();
            let answer = timeout(patience, async {
                let thread = threads.take(proven).await.map_err(io::Error::other)?;
                let asking = spawn_blocking(move || {
                    let _thread = thread;
                    resolve(&host)
                });
                asking.await.map_err(io::Error::other)?
            });
            let answer = match answer.await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
            };
            (name, answer)
        }
    }
}

impl Threads {
    async fn take(self, proven: bool) -> Result<OwnedSemaphorePermit, AcquireError> {
        if !proven {
            return self.all.acquire_owned().await;
        }
        match self.all.try_acquire_owned() {
            Ok(thread) => Ok(thread),
            Err(_) => self.reserved.acquire_owned().await,
        }
    }
}

fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    let addresses = found.map(|address: SocketAddr| address.ip().to_canonical());
    Ok(addresses.filter(is_elsewhere).collect())
}

/// Whether connections to it leave the pod.
fn is_elsewhere(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}
