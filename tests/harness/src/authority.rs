//! The product's CA service, on a host of its own, and the tokens that it believes.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use rcgen::KeyPair;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    agent::Agent,
    enter, http,
    metrics::Metrics,
    pki::Pki,
    pod::{Family, NodeName},
    process::{Output, Process},
    sockets::PATIENCE,
    wait::until,
    world::{Agents, World},
};

/// A name in the service's certificate.
pub const NAME: &str = "ca.test";
pub const PORT: u16 = 15012;
/// What its tokens are for.
pub const AUDIENCE: &str = "sealane-ca";
const ISSUER: &str = "https://kubernetes.test";
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15014);
const START: Duration = Duration::from_secs(20);
const HOUR: u64 = 3600;

/// A CA under a company's root, and the issuer of tokens. Dropping it kills the service.
pub struct Authority {
    pub family: Family,
    /// `ca.key`, `ca.crt` and `root.crt`.
    pub directory: PathBuf,
    key: EncodingKey,
    process: Option<Process>,
    binary: PathBuf,
    netns: PathBuf,
    source: PathBuf,
    logs: PathBuf,
}

impl Authority {
    /// Makes the CA's files and starts the service.
    ///
    /// # Errors
    /// When it doesn't become ready.
    pub fn start(world: &World, family: Family, flags: &[&str]) -> Result<Self> {
        Self::start_under(&Pki::foreign()?, world, family, flags)
    }

    /// [`Authority::start`] under a company's root that the caller has.
    ///
    /// # Errors
    /// When it doesn't become ready.
    pub fn start_under(
        company: &Pki,
        world: &World,
        family: Family,
        flags: &[&str],
    ) -> Result<Self> {
        let mut authority = Self::new(world, family)?;
        company.intermediate(&authority.directory)?;
        fs::write(authority.roots(), company.root_pem())?;
        authority.restart(flags)?;
        Ok(authority)
    }

    /// With a root that the service makes itself. The agents are told of that one, and of no later one.
    ///
    /// # Errors
    /// When it doesn't become ready.
    pub fn start_self_made(world: &World, family: Family, flags: &[&str]) -> Result<Self> {
        let mut authority = Self::new(world, family)?;
        authority.restart(flags)?;
        fs::copy(authority.directory.join("ca.crt"), authority.roots())?;
        Ok(authority)
    }

    fn new(world: &World, family: Family) -> Result<Self> {
        let directory = world.scratch("authority")?;
        let key = EncodingKey::from_ec_der(&KeyPair::generate()?.serialize_der());
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        let keys = serde_json::to_vec(&JwkSet { keys: vec![jwk] })?;
        fs::write(directory.join("jwks.json"), keys)?;
        Ok(Self {
            family,
            directory,
            key,
            process: None,
            binary: world.run.product("sealane")?,
            netns: world.underlay.path(),
            source: world.node(NodeName::A).source.clone(),
            logs: world.logs.clone(),
        })
    }

    /// Starts the service again after [`Authority::kill`].
    ///
    /// # Errors
    /// When it doesn't become ready.
    pub fn restart(&mut self, flags: &[&str]) -> Result<()> {
        let mut command = enter::command(Some(&self.netns), None, &self.binary.to_string_lossy())?;
        command.args(["ca", "serve", "--dns-name", NAME]);
        command.args(["--listen", &format!("[::]:{PORT}")]);
        command.args(["--admin", &ADMIN.to_string()]);
        command.args(["--log-level", "debug"]);
        command.arg("--ca-dir").arg(&self.directory);
        command.arg("--socket").arg(self.socket());
        if !flags.contains(&"--kubeconfig") {
            let keys = self.directory.join("jwks.json");
            command.arg("--source").arg(&self.source);
            command.arg("--token-keys").arg(keys);
            command.args(["--token-issuer", ISSUER]);
        }
        command.args(flags);
        let process = self
            .process
            .insert(Process::spawn("authority", &self.logs, command)?);
        let netns = &self.netns;
        until("the CA to be ready", START, || {
            process.still_runs()?;
            let ready = http::get(netns, ADMIN, "/readyz");
            Ok(ready.is_ok_and(|(code, _)| code == 200).then_some(()))
        })
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it doesn't end.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the CA doesn't run")?;
        process.signal(Signal::KILL)?;
        process.wait(PATIENCE)?;
        Ok(())
    }

    /// SIGTERM, and its end in order.
    ///
    /// # Errors
    /// When it doesn't end with success.
    pub fn stop(&mut self) -> Result<Output> {
        let mut process = self.process.take().context("the CA doesn't run")?;
        process.signal(Signal::TERM)?;
        process.wait(PATIENCE)?.success()
    }

    /// Starts both nodes' agents as clients of the service, and waits until they are ready.
    ///
    /// # Errors
    /// When one doesn't become ready.
    pub fn start_agents(&self, world: &World, flags: &[&str]) -> Result<Agents> {
        self.start_agents_with(world, flags, |node| Ok(self.agent_token(node)))
    }

    /// [`Authority::start_agents`] with tokens of somebody else.
    ///
    /// # Errors
    /// When one doesn't become ready.
    pub fn start_agents_with(
        &self,
        world: &World,
        flags: &[&str],
        token_of: impl Fn(NodeName) -> Result<String>,
    ) -> Result<Agents> {
        let start = |node: NodeName| {
            let token = self.directory.join(format!("token-{}", node.name()));
            fs::write(&token, token_of(node)?)?;
            let address = self.address().to_string();
            let (roots, token) = (self.roots(), token);
            let (roots, token) = (roots.to_string_lossy(), token.to_string_lossy());
            let ours = [
                "--ca-address",
                &address,
                "--ca-roots",
                &roots,
                "--ca-token",
                &token,
                "--ca-server-name",
                NAME,
            ];
            Agent::start(world, node, &[&ours, flags].concat())
        };
        let (a, b) = (start(NodeName::A)?, start(NodeName::B)?);
        let mut agents = Agents { a, b };
        agents.a.wait_ready()?;
        agents.b.wait_ready()?;
        Ok(agents)
    }

    /// Where it takes requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(World::underlay_address(self.family), PORT)
    }

    /// PEM file of the root that everybody starts with.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.directory.join("told.crt")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("ca.sock")
    }

    /// A token of the agent of a node.
    #[must_use]
    pub fn agent_token(&self, node: NodeName) -> String {
        self.token(&claims("sealane-system", "sealane-agent", node.name()))
    }

    /// Empty if the key were not fit for the algorithm.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::ES256), claims, &self.key).unwrap_or_default()
    }

    /// # Errors
    /// When it can't be had or read.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&http::get(&self.netns, ADMIN, "/metrics")?.1)
    }

    /// Its log so far.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn log(&self) -> Result<String> {
        self.process
            .as_ref()
            .context("the CA doesn't run")?
            .stderr()
    }

    /// `sealane ca status`.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn status(&self, arguments: &[&str]) -> Result<Output> {
        self.operator("status", arguments)
    }

    /// `sealane ca status -o json`.
    ///
    /// # Errors
    /// When it can't be run, or isn't JSON.
    pub fn json(&self) -> Result<Value> {
        let status = self.status(&["-o", "json"])?;
        serde_json::from_str(&status.stdout).with_context(|| status.describe())
    }

    /// `sealane ca rotate`.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn rotate(&self, arguments: &[&str]) -> Result<Output> {
        self.operator("rotate", arguments)
    }

    fn operator(&self, what: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = enter::command(None, None, &self.binary.to_string_lossy())?;
        command.args(["ca", what]).args(arguments);
        command.arg("--socket").arg(self.socket());
        Process::run(&format!("ca-{what}"), &self.logs, command, PATIENCE)
    }
}

/// What the token of a pod on a node says.
#[must_use]
pub fn claims(namespace: &str, account: &str, node: &str) -> Value {
    json!({
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "iat": now() - 1,
        "nbf": now() - 1,
        "exp": now() + HOUR,
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": "1"},
            "pod": {"name": format!("{account}-{node}"), "uid": "2"},
            "node": {"name": node, "uid": "3"},
        },
    })
}

/// Seconds of the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
