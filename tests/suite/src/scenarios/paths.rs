//! Which connections are taken, which are left alone, and what a mesh client offers.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use rustls::NamedGroup;
use sealane_harness::{
    Family, NodeName, Pod, PodSpec, World,
    objects::{MESH, Service},
    tls,
};

use crate::{
    pair::{self, Pair},
    stage::{Shop, Stage},
};

const PORT: u16 = 9000;

/// Pods of one node talk over mutual TLS like any others.
pub fn same_node(stage: &Stage<'_>) -> Result<()> {
    let neighbour = stage
        .world
        .pod(PodSpec::new(NodeName::A, MESH, "neighbour"))?;
    let shop = stage.shop("STRICT")?;
    shop.agents.a.wait_enrolled(&neighbour, true)?;
    let listener = neighbour.listen(PORT)?;
    let address = neighbour.address(stage.family, PORT);
    let mut pair = Pair::open(&shop.customer, address, &listener)?;
    pair.talk()?;
    for direction in ["outbound", "inbound"] {
        shop.connection(NodeName::A, direction, |row| {
            row["direction"] == direction && row["security"] == "mutual_tls"
        })?;
    }
    Ok(())
}

/// An IPv6 socket that asks for an IPv4 address (RFC 4291, section 2.5.5.2), as many runtimes do.
pub fn mapped_client(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let mapped = IpAddr::from(shop.web.v4.to_ipv6_mapped());
    let asked = SocketAddr::new(mapped, PORT);
    let mut pair = Pair::open(&shop.customer, asked, &listener)?;
    pair.talk()?;
    let seen = pair.client.peer_addr()?;
    ensure!(seen == asked, "asked for {asked}, sees {seen}");
    expect_mutual(&shop)
}

/// A client that chooses its own address and port.
pub fn bound_client(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let from = shop.customer.address(stage.family, 40_000);
    let client = shop
        .customer
        .connect_from(from, shop.web_address(PORT))
        .context("connecting")?;
    let (server, peer) = pair::accept(&listener)?;
    let mut pair = Pair {
        client,
        server,
        peer,
    };
    pair.talk()?;
    ensure!(pair.peer.ip() == from.ip(), "the server sees {}", pair.peer);
    let local = pair.client.local_addr()?;
    ensure!(local == from, "bound to {from}, reads {local}");
    expect_mutual(&shop)
}

fn expect_mutual(shop: &Shop<'_>) -> Result<()> {
    shop.connection(NodeName::B, "a mutual connection", |row| {
        row["security"] == "mutual_tls"
    })?;
    Ok(())
}

/// Connections that are none of the mesh's: to oneself, over loopback, to pods outside, from pods outside.
pub fn untouched(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let other = stage.world.pod(PodSpec::stranger(NodeName::B, "other"))?;
    let (web, family) = (&shop.web, stage.family);
    let (own, others) = (web.listen(PORT)?, other.listen(PORT)?);
    let connect = |client: &Pod, address: IpAddr, listener: &TcpListener| -> Result<()> {
        Pair::open(client, SocketAddr::new(address, PORT), listener)?.talk()
    };
    connect(web, web.ip(family), &own).context("to oneself")?;
    connect(web, family.loopback(), &own).context("over loopback")?;
    connect(web, other.ip(family), &others).context("out of the mesh")?;
    connect(&shop.stranger, other.ip(family), &others).context("outside the mesh")?;
    let taken = shop.agents.b.connections()?;
    ensure!(taken.is_empty(), "taken: {taken:?}");
    Ok(())
}

/// A mesh client speaks as Istio's: ALPN `istio`, the service in the SNI, a hybrid group before all others.
pub fn client_hello(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let spec = PodSpec {
        sandbox: false,
        ..PodSpec::new(NodeName::B, MESH, "backend")
    };
    let backend = world.pod(spec)?;
    let service = Service {
        namespace: MESH.into(),
        name: "backend".into(),
        app: "backend".into(),
        virtual_addresses: Family::ALL.map(|f| World::virtual_address(f, 5)).to_vec(),
        port: 80,
        target_port: PORT.to_string(),
    };
    world.objects.service(&service)?;
    let shop = stage.shop("PERMISSIVE")?;
    let listener = backend.listen(PORT)?;
    let virtual_address = SocketAddr::new(World::virtual_address(stage.family, 5), 80);
    let direct = backend.address(stage.family, PORT);
    let host = "outbound_.80_._.backend.shop.svc.cluster.local";
    for (asked, name) in [(direct, None), (virtual_address, Some(host))] {
        let _client = shop.customer.connect(asked)?;
        let (mut socket, _) = pair::accept(&listener)?;
        let offer = tls::offer(&mut socket)?;
        ensure!(offer.alpn == [tls::ISTIO], "ALPN: {offer:?}");
        ensure!(offer.server_name.as_deref() == name, "SNI: {offer:?}");
        let first = offer.groups.first().copied();
        ensure!(
            first == Some(NamedGroup::X25519MLKEM768),
            "groups: {offer:?}"
        );
    }
    Ok(())
}
