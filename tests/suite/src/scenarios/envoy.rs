//! Istio's sidecars as peers, both ways: a real Envoy that is told what Istio tells it, in a pod of the mesh that
//! no agent of ours has enrolled. What is looked at is the wire: there is no Istio that would tell Envoy more.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    NodeName, Pod, PodSpec,
    apps::{
        Accepts, Answer, Curl, Envoy, Inbound, Mode, Nginx, Outbound, Protocol, Tls, TlsVersion,
    },
    kernel,
    objects::MESH,
    pace,
    pki::{Pki, Wanted},
};

use super::{
    authorization,
    streams::{exchange, finish},
};
use crate::{
    pair::{self, Pair},
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

const PORT: u16 = 9000;
/// Of the application behind Envoy.
const BEHIND: u16 = 8000;
const TRUST_DOMAIN: &str = "cluster.local";
const SOMEBODY: &str = "spiffe://cluster.local/ns/shop/sa/somebody";
const BYTES: usize = 8 << 20;

/// The usual cast, and a pod with a sidecar of Istio's.
struct Setting<'a> {
    shop: Shop<'a>,
    pod: Pod,
    mesh: Pki,
}

impl<'a> Setting<'a> {
    fn new(stage: &Stage<'a>, node: NodeName, name: &str, flags: &[&str]) -> Result<Self> {
        let pod = stage.world.pod(PodSpec {
            sandbox: false,
            ..PodSpec::new(node, MESH, name)
        })?;
        let shop = stage.shop_with("STRICT", flags)?;
        let mesh = Pki::of_mesh(&stage.world.ca)?;
        Ok(Self { shop, pod, mesh })
    }

    /// For a sidecar with a certificate of the mesh for `identity`.
    fn tls(&self, identity: &str, accepts: Accepts) -> Result<Tls> {
        self.tls_of(&self.mesh, identity, accepts)
    }

    fn tls_of(&self, pki: &Pki, identity: &str, accepts: Accepts) -> Result<Tls> {
        let mut leaf = pki.leaf(&Wanted::spiffe(identity))?;
        // Whom it trusts is not who signed for it.
        self.mesh.root_pem().clone_into(&mut leaf.root_pem);
        let files = leaf.write(&self.shop.world().scratch("sidecar")?)?;
        Ok(Tls::new(files, accepts))
    }

    fn handshake_failed(&self, node: NodeName, side: &str, reason: &str) -> Result<()> {
        let labels = [("side", side), ("result", "error"), ("reason", reason)];
        let name = "sealane_handshakes_total";
        self.shop.metric(node, name, &labels, 1.0)
    }
}

/// Neither an answer nor a way past the refusal.
fn expect_refused(answer: &Answer) -> Result<()> {
    const EMPTY_REPLY: i32 = 52;
    let refused = answer.is_reset() || answer.exit == Some(EMPTY_REPLY);
    ensure!(refused, "{answer:?}");
    Ok(())
}

/// Asserts that whoever came to `listener` has left without a word: Envoy dials before it knows whether it will have
/// something to bring.
fn expect_silence(listener: &TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(pace::span(SOON)))?;
                pair::expect_over(&mut stream)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Every byte both ways, then one end after the other.
fn expect_stream(from: &Pod, address: SocketAddr, at: &Pod, port: u16) -> Result<()> {
    let listener = at.listen(port)?;
    let mut pair = Pair::open(from, address, &listener)?;
    pair.talk()?;
    exchange(&pair, BYTES, BYTES, false)?;
    finish(&pair)
}

fn server_setting<'a>(stage: &Stage<'a>, flags: &[&str]) -> Result<Setting<'a>> {
    Setting::new(stage, NodeName::B, "backend", flags)
}

impl Setting<'_> {
    /// The sidecar of a server as it should be.
    fn inbound(&self, mode: Mode, protocol: Protocol) -> Result<Inbound> {
        let accepts = Accepts::TrustDomain(TRUST_DOMAIN.to_owned());
        Ok(Inbound {
            port: PORT,
            application: BEHIND,
            protocol,
            mode,
            tls: self.tls(&self.pod.identity(), accepts)?,
            allowed: Some(self.shop.customer.identity()),
        })
    }

    fn serve(&self, inbound: &Inbound) -> Result<Envoy> {
        Envoy::inbound(self.shop.world(), &self.pod, inbound)
    }

    fn ask_backend(&self, path: &str) -> Result<Answer> {
        let address = self.pod.address(self.shop.family(), PORT);
        Curl::new(&self.shop.customer)?.get(&format!("http://{address}{path}"))
    }
}

/// Our client and Envoy's server.
pub fn server(stage: &Stage<'_>) -> Result<()> {
    let setting = server_setting(stage, &[])?;
    let nginx = Nginx::http(stage.world, &setting.pod, BEHIND, GREETING)?;
    for mode in [Mode::Permissive, Mode::Strict] {
        for protocol in [Protocol::Tcp, Protocol::Http] {
            let _envoy = setting.serve(&setting.inbound(mode, protocol)?)?;
            let asked = setting.ask_backend("/")?;
            asked
                .expect_ok(GREETING)
                .with_context(|| format!("{mode:?} {protocol:?}"))?;
            if protocol == Protocol::Http {
                expect_forwarded(&setting, &setting.ask_backend("/certificate")?)?;
            }
        }
    }
    // Not our first choice: it takes a HelloRetryRequest (RFC 8446, section 4.1.4).
    let mut inbound = setting.inbound(Mode::Strict, Protocol::Tcp)?;
    inbound.tls.curves = vec!["P-256"];
    let _envoy = setting.serve(&inbound)?;
    setting.ask_backend("/")?.expect_ok(GREETING)?;
    drop(nginx);
    let address = setting.pod.address(stage.family, PORT);
    expect_stream(&setting.shop.customer, address, &setting.pod, BEHIND)
}

/// Who is who, as Envoy has seen it.
fn expect_forwarded(setting: &Setting<'_>, answer: &Answer) -> Result<()> {
    let by = format!("By={};", setting.pod.identity());
    let uri = format!("URI={}", setting.shop.customer.identity());
    let told = &answer.body;
    ensure!(told.contains(&by) && told.contains(&uri), "{told:?}");
    Ok(())
}

/// An Envoy that isn't who it should be gets nothing of ours; one that wants somebody else gives nothing.
pub fn server_refused(stage: &Stage<'_>) -> Result<()> {
    let setting = server_setting(stage, &[])?;
    let behind = setting.pod.listen(BEHIND)?;
    let right = setting.inbound(Mode::Permissive, Protocol::Tcp)?;
    let mut old = right.tls.clone();
    old.newest = TlsVersion::V1_2;
    let like = |identity: &str| setting.tls(identity, right.tls.accepts.clone());
    let own = setting.pod.identity();
    let elsewhere = Accepts::TrustDomain("elsewhere.test".to_owned());
    let somebody = Accepts::Exactly(SOMEBODY.to_owned());
    let foreign = setting.tls_of(&Pki::foreign()?, &own, right.tls.accepts.clone())?;
    let cases = [
        ("is somebody else", like(SOMEBODY)?),
        ("is the client", like(&setting.shop.customer.identity())?),
        ("has another root", foreign),
        ("speaks TLS 1.2", old),
        ("wants somebody else", setting.tls(&own, somebody)?),
        ("wants another mesh", setting.tls(&own, elsewhere)?),
    ];
    let mut wrong = right.clone();
    for (what, tls) in cases {
        wrong.tls = tls;
        expect_none_behind(&setting, &wrong, &behind).with_context(|| format!("Envoy {what}"))?;
    }
    let mut wrong = right.clone();
    wrong.allowed = Some(SOMEBODY.to_owned());
    expect_none_behind(&setting, &wrong, &behind).context("Envoy allows somebody else")?;
    setting.handshake_failed(NodeName::A, "client", "wrong_identity")?;
    setting.handshake_failed(NodeName::A, "client", "untrusted")
}

/// The client is refused, and nothing of it reaches the application.
fn expect_none_behind(
    setting: &Setting<'_>,
    inbound: &Inbound,
    behind: &TcpListener,
) -> Result<()> {
    let _envoy = setting.serve(inbound)?;
    expect_refused(&setting.ask_backend("/")?)?;
    expect_silence(behind)
}

fn client_setting<'a>(stage: &Stage<'a>) -> Result<Setting<'a>> {
    let setting = Setting::new(stage, NodeName::A, "frontend", &[])?;
    let only_frontend = authorization::ALLOW.replace("sa/customer", "sa/frontend");
    let objects = &stage.world.objects;
    objects.raw(authorization::FILE, &only_frontend)?;
    setting.shop.agents.b.wait_current(objects)?;
    Ok(setting)
}

impl Setting<'_> {
    /// The sidecar of a client as it should be.
    fn outbound(&self, port: u16, protocol: Protocol) -> Result<Outbound> {
        let accepts = Accepts::Exactly(self.shop.web.identity());
        Ok(Outbound {
            server: self.shop.web_address(port),
            server_name: format!("outbound_.{port}_._.web.{MESH}.svc.cluster.local"),
            protocol,
            tls: self.tls(&self.pod.identity(), accepts)?,
        })
    }

    fn call(&self, outbound: &Outbound) -> Result<Envoy> {
        Envoy::outbound(self.shop.world(), &self.pod, outbound)
    }

    /// Where the sidecar is for its own pod.
    fn way_out(&self) -> SocketAddr {
        SocketAddr::new(self.shop.family().loopback(), Outbound::PORT)
    }

    fn ask_web(&self) -> Result<Answer> {
        Curl::new(&self.pod)?.get(&format!("http://{}/", self.way_out()))
    }
}

/// Envoy's client and our server, which lets in nobody but that client's principal.
pub fn client(stage: &Stage<'_>) -> Result<()> {
    let setting = client_setting(stage)?;
    let shop = &setting.shop;
    let _nginx = shop.nginx()?;
    let mut outbounds = vec![
        setting.outbound(WEB, Protocol::Tcp)?,
        setting.outbound(WEB, Protocol::Http)?,
    ];
    expect_let_in(&setting, &outbounds).context("STRICT")?;
    shop.set_mode("PERMISSIVE")?;
    let mut old = outbounds[0].clone();
    old.tls.newest = TlsVersion::V1_2;
    outbounds.push(old);
    for curve in ["P-256", "X25519MLKEM768"] {
        let mut limited = outbounds[0].clone();
        limited.tls.curves = vec![curve];
        outbounds.push(limited);
    }
    expect_let_in(&setting, &outbounds).context("PERMISSIVE")?;
    let _envoy = setting.call(&setting.outbound(PORT, Protocol::Tcp)?)?;
    expect_stream(&setting.pod, setting.way_out(), &shop.web, PORT)
}

fn expect_let_in(setting: &Setting<'_>, outbounds: &[Outbound]) -> Result<()> {
    for outbound in outbounds {
        let _envoy = setting.call(outbound)?;
        let answer = setting.ask_web()?;
        answer
            .expect_ok(GREETING)
            .with_context(|| format!("{outbound:?}"))?;
    }
    Ok(())
}

/// Clients whose certificate is of somebody else, and servers that are not whom Envoy wants.
pub fn client_refused(stage: &Stage<'_>) -> Result<()> {
    let setting = client_setting(stage)?;
    let listener = setting.shop.web.listen(WEB)?;
    let right = setting.outbound(WEB, Protocol::Tcp)?;
    let wants_web = || Accepts::Exactly(setting.shop.web.identity());
    let with = |tls: Tls| Outbound {
        tls,
        ..right.clone()
    };
    let own = setting.pod.identity();
    {
        let _envoy = setting.call(&with(setting.tls(SOMEBODY, wants_web())?))?;
        let answer = setting.ask_web()?;
        ensure!(answer.status == 403, "not the principal: {answer:?}");
        pair::expect_nobody(&listener)?;
    }
    let elsewhere = "spiffe://elsewhere.test/ns/shop/sa/frontend";
    let cases = [
        (
            "has another root",
            setting.tls_of(&Pki::foreign()?, &own, wants_web())?,
        ),
        (
            "is of another trust domain",
            setting.tls(elsewhere, wants_web())?,
        ),
        (
            "wants somebody else",
            setting.tls(&own, Accepts::Exactly(SOMEBODY.to_owned()))?,
        ),
    ];
    for (what, tls) in cases {
        let _envoy = setting.call(&with(tls))?;
        expect_refused(&setting.ask_web()?).with_context(|| format!("Envoy {what}"))?;
        pair::expect_nobody(&listener).with_context(|| format!("Envoy {what}"))?;
    }
    setting.handshake_failed(NodeName::B, "server", "untrusted")?;
    setting.handshake_failed(NodeName::B, "server", "peer_alert")
}

/// A key of ours that has sealed what it may: Envoy goes on with the next, as a server and as a client.
pub fn key_update(stage: &Stage<'_>) -> Result<()> {
    // Not every kernel can change its keys.
    let setting = server_setting(stage, &["--ktls", "off", "--key-limit", "4"])?;
    let shop = &setting.shop;
    // Without these instructions the cipher is one that has no limit.
    let least = f64::from(u8::from(kernel::has_aes_instructions()));
    let updated = |node| shop.metric(node, "sealane_tls_key_updates_total", &[], least);
    let _server = setting.serve(&setting.inbound(Mode::Strict, Protocol::Tcp)?)?;
    let address = setting.pod.address(stage.family, PORT);
    expect_stream(&shop.customer, address, &setting.pod, BEHIND)?;
    updated(NodeName::A)?;
    let _client = setting.call(&setting.outbound(PORT, Protocol::Tcp)?)?;
    expect_stream(&setting.pod, setting.way_out(), &shop.web, PORT)?;
    updated(NodeName::B)
}
