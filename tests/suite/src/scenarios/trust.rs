//! Whom the mesh trusts besides its own CA, and whom not any more.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use sealane_harness::{
    NodeName,
    apps::{Answer, Curl, Nginx},
    pace,
    pki::{Leaf, Pki, Wanted},
    tls::{self, ClientStream},
    until,
};

use super::authorization::FILE;
use crate::stage::{GREETING, SOON, Shop, Stage, WEB};

const OWN: &str = "spiffe://cluster.local/ns/shop/sa/customer";
const OTHERS: &str = "spiffe://b.example/ns/front/sa/web";

/// A server, and a file that says whom it trusts.
struct Setting<'a> {
    shop: Shop<'a>,
    file: PathBuf,
    _nginx: Nginx,
}

impl<'a> Setting<'a> {
    fn new(stage: &Stage<'a>, flag: &str, prefix: &str, content: &str) -> Result<Self> {
        let file = stage.world.scratch("trust")?.join("file");
        fs::write(&file, content)?;
        let value = format!("{prefix}{}", file.display());
        let shop = stage.shop_with("STRICT", &[flag, &value])?;
        let nginx = shop.nginx()?;
        Ok(Self {
            shop,
            file,
            _nginx: nginx,
        })
    }

    fn get(&self, leaf: &Leaf) -> Result<Answer> {
        let files = leaf.write(&self.shop.world().scratch("leaf")?)?;
        let address = self.shop.web_address(WEB);
        Curl::new(&self.shop.stranger)?
            .arg("-k")
            .certificate(&files)
            .get(&format!("https://{address}/"))
    }

    fn expect_refused(&self, leaf: &Leaf) -> Result<()> {
        let answer = self.get(leaf)?;
        ensure!(answer.exit != Some(0), "{answer:?}");
        Ok(())
    }

    fn keep(&self, leaf: &Leaf) -> Result<ClientStream> {
        let socket = self.shop.stranger.connect(self.shop.web_address(WEB))?;
        keep(socket, Some(leaf))
    }

    fn expect_cut(&self, kept: ClientStream) -> Result<()> {
        expect_over(kept)?;
        let labels = [("reason", "untrusted")];
        let name = "sealane_policy_cuts_total";
        self.shop.metric(NodeName::B, name, &labels, 1.0)
    }

    fn expect_error(&self, text: &str) -> Result<()> {
        until("the error in status", SOON, || {
            let status = self.shop.agents.b.status()?;
            let error = status["trusted"][0]["error"].as_str();
            Ok(error.is_some_and(|e| e.contains(text)).then_some(()))
        })
    }
}

/// A connection to nginx that stays.
pub(super) fn keep(socket: TcpStream, leaf: Option<&Leaf>) -> Result<ClientStream> {
    socket.set_read_timeout(Some(pace::span(SOON)))?;
    let mut stream = tls::connect(socket, leaf, &[])?;
    greet(&mut stream)?;
    Ok(stream)
}

/// Asks nginx for its text, and leaves the connection open.
pub(super) fn greet(stream: &mut (impl Read + Write)) -> Result<()> {
    write!(stream, "GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(GREETING) {
        let mut some = [0; 512];
        let read = stream.read(&mut some).context("the answer")?;
        ensure!(read > 0, "the answer ended: {answer:?}");
        answer.extend_from_slice(&some[..read]);
    }
    Ok(())
}

/// Asserts that a kept connection is there still, and is good for another request.
pub(super) fn expect_open(kept: &mut ClientStream) -> Result<()> {
    let patience = kept.sock.read_timeout()?;
    kept.sock
        .set_read_timeout(Some(Duration::from_millis(200)))?;
    let quiet = kept.read(&mut [0; 1]).map_err(|error| error.kind());
    ensure!(quiet == Err(ErrorKind::WouldBlock), "{quiet:?}");
    kept.sock.set_read_timeout(patience)?;
    greet(kept)
}

/// Waits until a kept connection has ended without another word.
pub(super) fn expect_over(mut kept: impl Read) -> Result<()> {
    match kept.read(&mut [0; 1]) {
        Ok(1..) => bail!("somebody has said something"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("it is still open"),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Workloads of another mesh get in with its roots, as whom they are, and out when it is trusted no more.
pub fn federation(stage: &Stage<'_>) -> Result<()> {
    let others = Pki::foreign()?;
    let bundle = "b.example=";
    let setting = Setting::new(stage, "--trust-bundle", bundle, others.root_pem())?;
    let good = others.leaf(&Wanted::spiffe(OTHERS))?;
    setting.get(&good)?.expect_ok(GREETING)?;
    let same_name = Pki::foreign()?.leaf(&Wanted::spiffe(OTHERS))?;
    setting.expect_refused(&same_name).context("another root")?;
    let own_name = others.leaf(&Wanted::spiffe(OWN))?;
    setting
        .expect_refused(&own_name)
        .context("their root, our name")?;

    let allow = super::authorization::ALLOW
        .replace(&OWN["spiffe://".len()..], &OTHERS["spiffe://".len()..]);
    let objects = &setting.shop.world().objects;
    objects.raw(FILE, &allow)?;
    setting.shop.agents.b.wait_current(objects)?;
    setting
        .get(&good)?
        .expect_ok(GREETING)
        .context("by principal")?;
    let another = others.leaf(&Wanted::spiffe("spiffe://b.example/ns/front/sa/other"))?;
    let answer = setting.get(&another)?;
    ensure!(answer.status == 403, "another principal: {answer:?}");

    let kept = setting.keep(&good)?;
    fs::write(&setting.file, "nonsense")?;
    setting.expect_error("neither PEM")?;
    setting
        .get(&good)?
        .expect_ok(GREETING)
        .context("with a bad file")?;
    fs::write(&setting.file, "{\"keys\": []}")?;
    setting.expect_cut(kept)?;
    setting.expect_refused(&good).context("no root any more")
}

/// A revoked certificate ends what it has opened, and opens nothing more.
pub fn revoked(stage: &Stage<'_>) -> Result<()> {
    let mesh = Pki::make_mesh(&stage.world.ca)?;
    let none = mesh.revocation_list(&[])?;
    let setting = Setting::new(stage, "--crl", "", &none)?;
    let (lost, other) = (
        mesh.leaf(&Wanted::spiffe(OWN))?,
        mesh.leaf(&Wanted::spiffe(OWN))?,
    );
    setting.get(&lost)?.expect_ok(GREETING)?;
    let kept = setting.keep(&lost)?;
    let mut stays = setting.keep(&other)?;

    let wrong = Pki::foreign()?.revocation_list(&[&other])?;
    let list = mesh.revocation_list(&[&lost])?;
    fs::write(&setting.file, wrong + &list)?;
    setting.expect_cut(kept)?;
    setting.expect_refused(&lost)?;
    // Not by a list of somebody else's.
    setting
        .get(&other)?
        .expect_ok(GREETING)
        .context("another certificate")?;
    expect_open(&mut stays).context("the other's connection")?;
    setting
        .shop
        .get(&setting.shop.customer)?
        .expect_ok(GREETING)?;
    fs::remove_file(&setting.file)?;
    setting.expect_error("No such file")?;
    setting.expect_refused(&lost).context("without the file")
}
