//! MariaDB: a protocol in which the server speaks first. TLS of its own is off: what is on the wire is ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};

use super::require;
use crate::{
    enter,
    isolation::Run,
    pace,
    pod::{Family, Pod},
    process::{Output, Process},
    world::World,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Small files: they are copied for every server and live in memory.
const ENGINE: [&str; 4] = [
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-method=fsync",
    "--innodb-use-native-aio=0",
];

/// A data directory, initialised once in a run.
#[derive(Debug, Default)]
pub struct MariaDbTemplate {
    directory: Mutex<Option<PathBuf>>,
}

/// A running server.
#[derive(Debug)]
pub struct MariaDb {
    _process: Process,
}

impl MariaDbTemplate {
    /// The directory to copy; made by the first that asks.
    fn directory(&self, run: &Run, logs: &Path) -> Result<PathBuf> {
        let mut made = self
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = &*made {
            return Ok(directory.clone());
        }
        require("mariadb-install-db")?;
        let directory = run.directory().join("mariadb-template");
        let mut command = enter::command(None, None, "mariadb-install-db")?;
        command.args(["--no-defaults", "--user=root", "--skip-test-db"]);
        command.arg("--auth-root-authentication-method=normal");
        command.args(ENGINE);
        command.arg(format!("--datadir={}", directory.display()));
        Process::run("mariadb-install-db", logs, command, LIMIT)?.success()?;
        *made = Some(directory.clone());
        Ok(directory)
    }
}

impl MariaDb {
    pub const PORT: u16 = 3306;

    /// Starts a server in `pod`, with the user `app` and the table `shop.fruit`, and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start(world: &World, pod: &Pod, template: &MariaDbTemplate) -> Result<Self> {
        require("mariadbd")?;
        let template = template.directory(&world.run, &world.logs)?;
        let directory = world.scratch("mariadb")?;
        let data = directory.join("data");
        copy(&template, &data)?;
        let setup = directory.join("setup.sql");
        fs::write(
            &setup,
            "CREATE USER app@'%' IDENTIFIED BY 'secret';\n\
             GRANT ALL ON *.* TO app@'%';\n\
             CREATE DATABASE shop;\n\
             CREATE TABLE shop.fruit (name TEXT);\n\
             INSERT INTO shop.fruit VALUES ('pomegranate');\n",
        )?;
        let mut command = pod.command("mariadbd")?;
        command.args(["--no-defaults", "--user=root", "--skip-name-resolve"]);
        command
            .args(["--bind-address=*", "--port=3306"])
            .args(ENGINE);
        command.arg(format!("--datadir={}", data.display()));
        command.arg(format!("--socket={}/sock", directory.display()));
        command.arg(format!("--pid-file={}/pid", directory.display()));
        command.arg(format!("--init-file={}", setup.display()));
        let process = pod.spawn("mariadbd", command)?;
        pod.wait_listening(Self::PORT)?;
        Ok(Self { _process: process })
    }

    /// Runs one statement from `pod` against a server in another.
    ///
    /// # Errors
    /// When the client can't be run; a refused connection is an [`Output`].
    pub fn query(pod: &Pod, server: &Pod, family: Family, statement: &str) -> Result<Output> {
        let mut command = client(pod)?;
        command.arg(format!("--host={}", server.ip(family)));
        command.args(["--execute", statement]);
        pod.run("mariadb", command, LIMIT)
    }
}

fn client(pod: &Pod) -> Result<Command> {
    require("mariadb")?;
    let mut command = pod.command("mariadb")?;
    command.args(["--no-defaults", "--user=app", "--password=secret"]);
    command.args(["--skip-ssl", "--batch", "--skip-column-names"]);
    let patience = pace::span(Duration::from_secs(10)).as_secs();
    command.arg(format!("--connect-timeout={patience}"));
    command.args(["--port=3306", "--protocol=tcp"]);
    Ok(command)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("{}", target.display()))?;
        }
    }
    Ok(())
}
