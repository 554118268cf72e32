//! Through the agents of two nodes.

use std::{process::Command, sync::Arc};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sealane_harness::{
    NodeName, PodSpec, Run, World,
    objects::{MESH, PeerAuthentication},
    until,
};

use super::{Between, Built, Facts, SERVER_PORT, START, Site, Variant};
use crate::load::Job;

/// A way through the agents.
struct Kind {
    about: &'static str,
    /// Of the server's mesh namespace.
    mode: &'static str,
    client_in_mesh: bool,
    /// For `--attestation`.
    attestation: &'static str,
    /// For `--ktls`.
    ktls: &'static str,
    /// What the agents must call it; the first is what it is known by.
    transports: &'static [&'static str],
}

fn kind(name: &str) -> Result<Kind> {
    let strict = |about, ktls, transports| Kind {
        about,
        mode: "STRICT",
        client_in_mesh: true,
        attestation: "on",
        ktls,
        transports,
    };
    Ok(match name {
        "plain" => Kind {
            about: "one agent relays plaintext to a PERMISSIVE server",
            mode: "PERMISSIVE",
            client_in_mesh: false,
            attestation: "on",
            ktls: "off",
            transports: &["copy", "plain"],
        },
        "plain-unwatched" => Kind {
            about: "plain, with --attestation off",
            attestation: "off",
            ..self::kind("plain")?
        },
        "userspace-tls-unwatched" => Kind {
            about: "userspace-tls, with --attestation off",
            attestation: "off",
            ..self::kind("userspace-tls")?
        },
        "userspace-tls" => strict("two agents, TLS in userspace", "off", &["userspace_tls"]),
        "ktls-copy" => strict("two agents, kernel TLS, copied", "copy", &["ktls_copy"]),
        "ktls-splice" => strict("two agents, kernel TLS, spliced", "auto", &["ktls_splice"]),
        _ => bail!("no variant {name}"),
    })
}

/// Builds a variant, and finds out what its connections really are.
pub(super) fn build(run: &Arc<Run>, name: &str) -> Result<Built> {
    let kind = kind(name)?;
    // The agent's own choice of what to log; the harness would ask for more.
    let mut flags = vec!["--log-level", "info", "--attestation", kind.attestation];
    if has_ktls(run)? {
        flags.extend(["--ktls", kind.ktls]);
    } else if kind.ktls != "off" {
        return Ok(Built::Unavailable("this agent has no --ktls".into()));
    }
    let site = site(run, &kind)?;
    let policy = PeerAuthentication::namespace(MESH, kind.mode);
    site.world.objects.policy(&policy)?;
    let agents = site
        .world
        .start_agents(&flags)
        .map_err(|error| anyhow!("{error:#}\n{}", site.world.evidence()))?;
    if kind.client_in_mesh {
        agents.a.wait_enrolled(&site.client, true)?;
    }
    agents.b.wait_enrolled(&site.server, true)?;
    agents.b.wait_mode(&site.server, kind.mode)?;
    if kind.attestation == "on" {
        agents.b.wait_status("the wire to be watched", |status| {
            status["capture"]["attestation"]["watched"] == 1
        })?;
    }
    // A stranger's way has no agent at the client's end.
    let nodes = if kind.client_in_mesh {
        &NodeName::ALL[..]
    } else {
        &[NodeName::B]
    };
    let groups: Vec<_> = nodes
        .iter()
        .map(|node| site.world.node(*node).agent_cgroup.clone())
        .collect();
    let address = site.server_address();
    let mut variant = Variant::open(
        site,
        Between::Agents(Box::new(agents)),
        (address, address),
        groups,
    )?;
    let facts = facts(&variant, nodes, kind.about)?;
    variant.client.does(&Job::Close)?;
    match facts.transport.as_deref() {
        Some(transport) if kind.transports.contains(&transport) => {
            Ok(Built::Ready(Box::new(variant), facts))
        }
        transport => Ok(Built::Unavailable(format!(
            "not on this kernel: connections are {}",
            transport.unwrap_or("of different kinds on both nodes")
        ))),
    }
}

/// Whether this build of the agent can be told what to do about kernel TLS.
fn has_ktls(run: &Run) -> Result<bool> {
    let agent = run.product("sealane")?;
    let help = Command::new(&agent).args(["agent", "--help"]).output();
    let help = help.with_context(|| agent.display().to_string())?;
    ensure!(
        help.status.success(),
        "sealane agent --help: {}",
        help.status
    );
    Ok(String::from_utf8_lossy(&help.stdout).contains("--ktls"))
}

/// What the agents of `nodes` say of the connection that is open. No transport if they don't agree.
fn facts(variant: &Variant, nodes: &[NodeName], about: &str) -> Result<Facts> {
    let Between::Agents(agents) = &variant.between else {
        bail!("no agents");
    };
    let mut facts = Facts {
        about: about.to_owned(),
        ..Facts::default()
    };
    for (index, node) in nodes.iter().enumerate() {
        let row = until("the open connection in the live table", START, || {
            let rows = agents.on(*node).connections()?;
            Ok(rows.into_iter().find(|row| row["state"] == "open"))
        })?;
        let text = |field: &str| row[field].as_str().map(str::to_owned);
        let transport = text("transport");
        facts.transport = if index == 0 {
            transport
        } else {
            facts
                .transport
                .filter(|other| transport.as_ref() == Some(other))
        };
        facts.cipher = text("cipher");
    }
    Ok(facts)
}

fn site(run: &Arc<Run>, kind: &Kind) -> Result<Site> {
    let world = World::new(run)?;
    let client = if kind.client_in_mesh {
        PodSpec::new(NodeName::A, MESH, "customer")
    } else {
        PodSpec::stranger(NodeName::A, "customer")
    };
    let server = PodSpec::new(NodeName::B, MESH, "web").port("bench", SERVER_PORT);
    Ok(Site {
        client: world.pod(client)?,
        server: world.pod(server)?,
        world,
    })
}
