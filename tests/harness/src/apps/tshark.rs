//! tshark(1): another one's word on what was on the wire.

use std::{collections::HashMap, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::require;
use crate::{enter, process::Process, world::World};

const LIMIT: Duration = Duration::from_secs(60);
const FIELDS: [&str; 9] = [
    "ip.src",
    "ipv6.src",
    "ip.dst",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.len",
    "tls.record.length",
    "tls.handshake.type",
];
const CLIENT_HELLO: &str = "1";
const SERVER_HELLO: &str = "2";

/// One connection, both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dissected {
    pub records: u64,
    /// TCP payload, each byte once.
    pub bytes: u64,
    pub client_hello: bool,
    pub server_hello: bool,
}

/// Dissects the connections to a port as TLS. By client.
///
/// # Errors
/// When tshark fails.
pub fn dissect(world: &World, file: &Path, port: u16) -> Result<HashMap<SocketAddr, Dissected>> {
    require("tshark")?;
    let mut command = enter::command(None, None, "tshark")?;
    command.arg("-r").arg(file).args(["-n", "-T", "fields"]);
    command.args(["-d", &format!("tcp.port=={port},tls")]);
    command.args([
        "-Y",
        "tcp && !tcp.analysis.retransmission && !tcp.analysis.keep_alive",
    ]);
    for field in FIELDS {
        command.args(["-e", field]);
    }
    let output = Process::run("tshark", &world.logs, command, LIMIT)?.success()?;
    let mut connections: HashMap<_, Dissected> = HashMap::new();
    for line in output.stdout.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        ensure!(fields.len() == FIELDS.len(), "{line:?}");
        let source = endpoint(&fields[0..2], fields[4])?;
        let destination = endpoint(&fields[2..4], fields[5])?;
        let client = if source.port() == port {
            destination
        } else {
            source
        };
        let connection = connections.entry(client).or_default();
        connection.bytes += fields[6].parse::<u64>()?;
        connection.records += several(fields[7]).count() as u64;
        connection.client_hello |= several(fields[8]).any(|kind| kind == CLIENT_HELLO);
        connection.server_hello |= several(fields[8]).any(|kind| kind == SERVER_HELLO);
    }
    Ok(connections)
}

fn several(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').filter(|value| !value.is_empty())
}

/// Of the addresses of both families one is empty.
fn endpoint(addresses: &[&str], port: &str) -> Result<SocketAddr> {
    let address = addresses.concat();
    let address = address.parse().with_context(|| address.clone())?;
    Ok(SocketAddr::new(address, port.parse()?))
}
