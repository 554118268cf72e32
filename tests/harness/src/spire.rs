//! A stand-in for a SPIRE agent: its Delegated Identity API on a Unix socket, from SPIRE's published messages, in a
//! process of its own. It gives what a file says, and says it again when that changes. Attests nobody.
//!
//! SPIRE itself is to be had neither from Debian nor from PyPI.

mod server;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

pub use server::run;

use crate::{
    enter,
    pki::{Leaf, Pki},
    process::Process,
    sockets::PATIENCE,
    wait::until_true,
    world::World,
};

/// Sub-command of the executable that uses this module.
pub const NAME: &str = "spire-agent";
const STATE: &str = "state.json";
const SOCKET: &str = "admin.sock";

/// What the server gives to whom.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// DER, by trust domain.
    bundles: BTreeMap<String, Vec<u8>>,
}

/// A registration entry with the SVID of it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Entry {
    /// `TYPE:VALUE`; a workload must have all of them.
    selectors: Vec<String>,
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

/// The server. Dropping it kills it.
#[derive(Debug)]
pub struct Spire {
    directory: PathBuf,
    logs: PathBuf,
    state: State,
    process: Option<Process>,
}

impl Spire {
    /// Without an entry.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start(world: &World) -> Result<Self> {
        let mut spire = Self {
            directory: world.scratch("spire")?,
            logs: world.logs.clone(),
            state: State::default(),
            process: None,
        };
        spire.publish()?;
        spire.restart()?;
        Ok(spire)
    }

    /// # Errors
    /// When it doesn't start.
    pub fn restart(&mut self) -> Result<()> {
        let executable = std::env::current_exe()?;
        let mut command = enter::command(None, None, &executable.to_string_lossy())?;
        command.arg(NAME).arg(&self.directory);
        let _ = fs::remove_file(self.socket());
        let process = Process::spawn("spire-agent", &self.logs, command)?;
        self.process = Some(process);
        let socket = self.socket();
        until_true("the socket of the SPIRE agent", PATIENCE, || {
            Ok(socket.exists())
        })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it doesn't end.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it doesn't run")?;
        process.signal(Signal::KILL)?;
        process.wait(PATIENCE)?;
        Ok(())
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }

    /// Gives an SVID to workloads with all of these selectors, instead of what the entry gave before.
    ///
    /// # Errors
    /// When it can't be told.
    pub fn entry(&mut self, name: &str, selectors: &[String], leaf: &Leaf) -> Result<()> {
        let entry = Entry {
            selectors: selectors.to_vec(),
            chain: vec![leaf.certificate.to_vec()],
            key: leaf.key.clone(),
        };
        self.state.entries.insert(name.to_owned(), entry);
        self.publish()
    }

    /// # Errors
    /// When it can't be told.
    pub fn remove_entry(&mut self, name: &str) -> Result<()> {
        self.state.entries.remove(name);
        self.publish()
    }

    /// The roots of a trust domain: none, and it isn't known.
    ///
    /// # Errors
    /// When it can't be told.
    pub fn bundle(&mut self, domain: &str, roots: &[&Pki]) -> Result<()> {
        // As released agents write it, not as the proto file says.
        let domain = format!("spiffe://{domain}");
        let der = roots.iter().map(|pki| pki.root_der());
        let der = der.collect::<Result<Vec<_>>>()?.concat();
        self.state.bundles.remove(&domain);
        if !der.is_empty() {
            self.state.bundles.insert(domain, der);
        }
        self.publish()
    }

    fn publish(&self) -> Result<()> {
        let path = self.directory.join(STATE);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&self.state)?)?;
        Ok(fs::rename(new, path)?)
    }
}

impl State {
    fn read(directory: &Path) -> Result<Self> {
        let text = fs::read(directory.join(STATE))?;
        Ok(serde_json::from_slice(&text)?)
    }
}
