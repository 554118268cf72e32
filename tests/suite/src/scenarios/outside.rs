//! TLS with servers that are not of the mesh: Istio's ServiceEntry, VirtualService and DestinationRule together.

use std::{
    fs,
    io::{Read as _, Write as _},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    NodeName, Pod, PodSpec,
    apps::{Answer, Capture, Curl, Exit, Listener, Nginx},
    hosts::FIRST_OF_B,
    objects::MESH,
    pcap::readable,
    pki::{Leaf, LeafFiles, Pki, Wanted},
    until,
};

use crate::stage::{GREETING, SOON, Shop, Stage};

const FILE: &str = "outside.yaml";
/// What clients ask for, and what the server has.
const ASKED: u16 = 80;
const SECURE: u16 = 443;

/// A server outside whose clients must show a certificate of a third root, and the mesh that is to have one.
pub(super) struct Setting<'a> {
    pub(super) shop: Shop<'a>,
    pub(super) outside: Pod,
    host: String,
    files: LeafFiles,
    _nginx: Nginx,
}

impl<'a> Setting<'a> {
    /// `host` is to lead to the server, whose certificate has that name.
    pub(super) fn new(stage: &Stage<'a>, host: &str) -> Result<Self> {
        Self::with(
            stage,
            host,
            &Pki::foreign()?.leaf(&Wanted::server(host))?,
            &[],
        )
    }

    /// [`Setting::new`] with a certificate, and more flags for the agents.
    fn with(stage: &Stage<'a>, host: &str, leaf: &Leaf, flags: &[&str]) -> Result<Self> {
        // The first of node B: it has a host name.
        let outside = stage.world.pod(PodSpec::stranger(NodeName::B, "outside"))?;
        let shop = stage.shop_with("STRICT", flags)?;
        let files = leaf.write(&stage.world.scratch("third-root")?)?;
        let listener = Listener::Mutual(SECURE, files.clone());
        let nginx = Nginx::start(stage.world, &outside, &[listener], GREETING)?;
        Ok(Self {
            shop,
            outside,
            host: host.to_owned(),
            files,
            _nginx: nginx,
        })
    }

    pub(super) fn apply(&self, tls: &str) -> Result<()> {
        let objects = &self.shop.world().objects;
        objects.raw(FILE, &documents(&self.host, tls))?;
        self.shop.agents.a.wait_current(objects)
    }

    pub(super) fn mutual(&self) -> String {
        let LeafFiles {
            certificate,
            key,
            root,
        } = &self.files;
        format!(
            "{{mode: MUTUAL, clientCertificate: {}, privateKey: {}, caCertificates: {}}}",
            certificate.display(),
            key.display(),
            root.display()
        )
    }

    pub(super) fn get(&self, from: &Pod) -> Result<Answer> {
        let address = self.outside.address(self.shop.family(), ASKED);
        Curl::new(from)?.get(&format!("http://{address}/"))
    }

    /// What the rule asks for comes into force with the next answer of a name server.
    pub(super) fn wait_ok(&self) -> Result<()> {
        let mut last = None;
        until("the way out", SOON, || {
            let answer = self.get(&self.shop.customer)?;
            let ok = answer.expect_ok(GREETING).is_ok();
            last = Some(answer);
            Ok(ok.then_some(()))
        })
        .with_context(|| format!("{last:?}"))
    }

    pub(super) fn expect_refused(&self, reason: &str, least: f64) -> Result<()> {
        let answer = self.get(&self.shop.customer)?;
        ensure!(answer.is_reset(), "{answer:?}");
        let labels = [("direction", "outbound"), ("reason", reason)];
        let name = "sealane_connections_refused_total";
        self.shop.metric(NodeName::A, name, &labels, least)
    }
}

fn documents(host: &str, tls: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: outside-vs, namespace: {MESH}}}
spec:
  hosts:
  - {host}
  http:
  - match:
    - port: {ASKED}
    route:
    - destination:
        host: {host}
        subset: tls-origination
        port:
          number: {SECURE}
---
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {{name: outside-se, namespace: {MESH}}}
spec:
  hosts:
  - {host}
  ports:
  - number: {SECURE}
    name: https-port-for-tls-origination
    protocol: HTTPS
  resolution: DNS
  location: MESH_EXTERNAL
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: outside-dr, namespace: {MESH}}}
spec:
  host: {host}
  subsets:
  - name: tls-origination
    trafficPolicy:
      portLevelSettings:
      - port:
          number: {SECURE}
        tls: {tls}
"
    )
}

/// Clients speak plain HTTP, the wire mutual TLS with a third root; without it nothing passes, and nothing in clear.
pub fn mutual(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage, FIRST_OF_B)?;
    let shop = &setting.shop;
    setting
        .get(&shop.customer)?
        .expect_exit(Exit::COULD_NOT_CONNECT)?;
    setting.apply(&setting.mutual())?;
    setting.wait_ok()?;

    let capture = Capture::start(shop.world(), &setting.outside, SECURE)?;
    setting.get(&shop.customer)?.expect_ok(GREETING)?;
    let flows = capture.finish()?;
    ensure!(!flows.is_empty(), "nothing was captured");
    ensure!(!readable(&flows, GREETING), "in clear: {flows:?}");
    // Who is not in the mesh goes as before.
    setting
        .get(&shop.stranger)?
        .expect_exit(Exit::COULD_NOT_CONNECT)?;

    let root = fs::read(&setting.files.root)?;
    fs::write(&setting.files.root, Pki::foreign()?.root_pem())?;
    setting
        .expect_refused("handshake_failed", 1.0)
        .context("another root")?;
    fs::write(&setting.files.root, root)?;
    setting
        .get(&shop.customer)?
        .expect_ok(GREETING)
        .context("the root again")?;

    let key = fs::read(&setting.files.key)?;
    fs::remove_file(&setting.files.key)?;
    setting
        .expect_refused("no_certificate", 1.0)
        .context("no key")?;
    fs::write(&setting.files.key, key)?;
    setting
        .get(&shop.customer)?
        .expect_ok(GREETING)
        .context("the key again")
}

/// `--crl` is for servers outside, too: what has been revoked is cut and refused.
pub fn revoked(stage: &Stage<'_>) -> Result<()> {
    let pki = Pki::foreign()?;
    let list = stage.world.scratch("revoked")?.join("crl.pem");
    fs::write(&list, pki.revocation_list(&[])?)?;
    let leaf = pki.leaf(&Wanted::server(FIRST_OF_B))?;
    let flags = ["--crl", &list.to_string_lossy()];
    let setting = Setting::with(stage, FIRST_OF_B, &leaf, &flags)?;
    let shop = &setting.shop;
    setting.apply(&setting.mutual())?;
    setting.wait_ok()?;
    let mut kept = shop
        .customer
        .connect(setting.outside.address(shop.family(), ASKED))?;
    let request = format!("GET / HTTP/1.1\r\nHost: {FIRST_OF_B}\r\n\r\n");
    kept.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 512]);
    while !String::from_utf8_lossy(&answer).contains(GREETING.trim()) {
        let read = kept.read(&mut part)?;
        ensure!(read > 0, "no answer");
        answer.extend_from_slice(&part[..read]);
    }
    fs::write(&list, pki.revocation_list(&[&leaf])?)?;
    crate::pair::expect_over(&mut kept).context("the connection to who is revoked")?;
    setting
        .expect_refused("handshake_failed", 1.0)
        .context("who is revoked")?;
    fs::write(&list, pki.revocation_list(&[])?)?;
    setting.wait_ok().context("revoked no more")
}

/// The server's names are checked, and a connection in clear is cut when a rule asks for TLS.
pub fn simple(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage, FIRST_OF_B)?;
    let shop = &setting.shop;
    let root = setting.files.root.display().to_string();
    let simple = |more: &str| format!("{{mode: SIMPLE, caCertificates: {root}{more}}}");

    // In clear to the port that is to be TLS: nginx says what it thinks of that.
    setting.apply("{mode: DISABLE}")?;
    let clear = until("the way out in clear", SOON, || {
        let answer = setting.get(&shop.customer)?;
        Ok((answer.status == 400).then_some(answer))
    })?;
    ensure!(clear.body.contains("HTTPS port"), "{clear:?}");
    let mut kept = shop
        .customer
        .connect(setting.outside.address(shop.family(), ASKED))?;
    kept.set_read_timeout(Some(Duration::from_secs(5)))?;

    // No certificate is shown: the server asks for one.
    setting.apply(&simple(""))?;
    crate::pair::expect_over(&mut kept).context("the connection in clear")?;
    let answer = setting.get(&shop.customer)?;
    ensure!(answer.status == 400, "{answer:?}");
    ensure!(
        answer.body.contains("No required SSL certificate"),
        "{answer:?}"
    );

    setting.apply(&simple(", subjectAltNames: [other.example]"))?;
    setting
        .expect_refused("handshake_failed", 1.0)
        .context("another name")?;
    let own = format!(", subjectAltNames: [other.example, {FIRST_OF_B}], sni: {FIRST_OF_B}");
    setting.apply(&simple(&own))?;
    let answer = setting.get(&shop.customer)?;
    ensure!(answer.status == 400, "{answer:?}");
    Ok(())
}
