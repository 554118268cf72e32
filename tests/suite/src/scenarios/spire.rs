//! Identities that come from a SPIRE agent instead of a CA.

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    NodeName, Pod,
    apps::{Curl, Exit, leaf, show_certificates},
    pki::{Leaf, Pki, Validity, Wanted},
    spire::Spire,
    until,
};
use serde_json::Value;

use crate::{
    pair::Pair,
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

const CUSTOMER: &str = "spiffe://cluster.local/ns/shop/sa/customer";
const WEB_ID: &str = "spiffe://cluster.local/ns/shop/sa/web";
const OTHERS: &str = "spiffe://b.example/ns/front/sa/web";

/// A mesh whose identities SPIRE gives.
struct Setting<'a> {
    spire: Spire,
    pki: Pki,
    shop: Shop<'a>,
}

impl<'a> Setting<'a> {
    fn new(stage: &Stage<'a>) -> Result<Self> {
        let (mut spire, pki) = (Spire::start(stage.world)?, Pki::foreign()?);
        spire.bundle("cluster.local", &[&pki])?;
        let by_account = selectors(&["ns:shop", "sa:customer"]);
        let customer = pki.leaf(&Wanted::spiffe(CUSTOMER))?;
        spire.entry("customer", &by_account, &customer)?;
        give(&mut spire, &pki, Validity::Now)?;
        let socket = spire.socket();
        let flags = ["--spire-agent-socket", &socket.to_string_lossy()];
        let shop = stage.shop_with("STRICT", &flags)?;
        Ok(Self { spire, pki, shop })
    }

    fn give(&mut self, validity: Validity) -> Result<Leaf> {
        give(&mut self.spire, &self.pki, validity)
    }

    fn shown(&self) -> Result<String> {
        let text = show_certificates(&self.shop.stranger, self.shop.web_address(WEB))?;
        Ok(leaf(&text)?.serial)
    }

    /// Until handshakes show this certificate.
    fn wait_shown(&self, leaf: &Leaf) -> Result<()> {
        let wanted = serial(leaf)?;
        until("the SPIRE agent's certificate", SOON, || {
            Ok((self.shown()? == wanted).then_some(()))
        })
    }

    fn get(&self, from: &Pod) -> Result<()> {
        self.shop.get(from)?.expect_ok(GREETING)
    }

    /// The line of `sealane certs` about web.
    fn wait_line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let mut last = Vec::new();
        let found = until(what, SOON, || {
            last = self.shop.agents.b.certificates()?;
            let line = last.iter().find(|row| row["identity"] == WEB_ID);
            Ok(line.filter(|line| wanted(line)).map(|_| ()))
        });
        found.with_context(|| format!("certs: {last:?}"))
    }

    fn expect_refused(&self) -> Result<()> {
        let answer = self.shop.get(&self.shop.customer)?;
        ensure!(answer.status != 200, "{answer:?}");
        Ok(())
    }
}

/// As SPIRE's controller for Kubernetes writes entries: by the pod's uid.
fn give(spire: &mut Spire, pki: &Pki, validity: Validity) -> Result<Leaf> {
    let leaf = pki.leaf(&Wanted::spiffe(WEB_ID).valid(validity))?;
    spire.entry("web", &selectors(&["pod-uid:uid-of-web"]), &leaf)?;
    Ok(leaf)
}

fn selectors(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| format!("k8s:{value}")).collect()
}

fn serial(of: &Leaf) -> Result<String> {
    Ok(leaf(&of.certificate_pem)?.serial)
}

/// SVIDs come, are replaced and outlive their source until they expire.
pub fn agent(stage: &Stage<'_>) -> Result<()> {
    let mut setting = Setting::new(stage)?;
    let _nginx = setting.shop.nginx()?;
    let customer = &setting.shop.customer;
    setting.get(customer).context("at first")?;

    let listener = setting.shop.web.listen(9000)?;
    let address = setting.shop.web_address(9000);
    let mut pair = Pair::open(customer, address, &listener)?;
    let next = setting.give(Validity::Now)?;
    setting.wait_shown(&next).context("after rotation")?;
    pair.talk().context("a connection from before it")?;
    setting.get(&setting.shop.customer)?;

    setting.spire.kill()?;
    setting.get(&setting.shop.customer).context("without it")?;
    let later = setting.give(Validity::Now)?;
    setting.spire.restart()?;
    setting.wait_shown(&later).context("back again")?;

    let short = setting.give(Validity::Seconds(7))?;
    setting.wait_shown(&short).context("a short one")?;
    setting.spire.kill()?;
    setting.wait_line("the agent to miss it", |line| {
        let error = line["last_error"].as_str().unwrap_or_default();
        line["state"] == "valid" && error.contains("can't be reached")
    })?;
    setting
        .get(&setting.shop.customer)
        .context("until it expires")?;
    setting.wait_line("its end", |line| line["state"] == "expired")?;
    setting.expect_refused().context("expired")?;
    pair.talk().context("an established connection")?;
    setting.spire.restart()?;
    setting.give(Validity::Now)?;
    setting.wait_line("another", |line| line["state"] == "valid")?;
    setting.get(&setting.shop.customer).context("at last")
}

/// What SPIRE takes back, or gives by another name, is not used.
pub fn entries(stage: &Stage<'_>) -> Result<()> {
    let mut setting = Setting::new(stage)?;
    let _nginx = setting.shop.nginx()?;
    setting.get(&setting.shop.customer)?;
    setting.spire.remove_entry("web")?;
    setting.wait_line("the entry to be gone", |line| line["state"] == "missing")?;
    setting.expect_refused().context("without an entry")?;

    let other = setting
        .pki
        .leaf(&Wanted::spiffe("spiffe://cluster.local/ns/shop/sa/other"))?;
    setting
        .spire
        .entry("web", &selectors(&["ns:shop", "sa:web"]), &other)?;
    setting.wait_line("the other name", |line| {
        let error = line["last_error"].as_str().unwrap_or_default();
        error.contains("sa/other")
    })?;
    setting.expect_refused().context("another name")?;
    let stolen = Pki::foreign()?.leaf(&Wanted::spiffe(WEB_ID))?;
    setting
        .spire
        .entry("web", &selectors(&["ns:shop", "sa:web"]), &stolen)?;
    setting.wait_line("another root's", |line| {
        let error = line["last_error"].as_str().unwrap_or_default();
        error.contains("bundle")
    })?;
    setting.expect_refused().context("another root")?;
    let good = setting.give(Validity::Now)?;
    setting.wait_shown(&good)?;
    setting.get(&setting.shop.customer)
}

/// The roots of other trust domains come and go with SPIRE's bundles.
pub fn bundles(stage: &Stage<'_>) -> Result<()> {
    let mut setting = Setting::new(stage)?;
    let _nginx = setting.shop.nginx()?;
    let others = Pki::foreign()?;
    let files = others.leaf(&Wanted::spiffe(OTHERS))?;
    let files = files.write(&stage.world.scratch("leaf")?)?;
    let url = format!("https://{}/", setting.shop.web_address(WEB));
    let get = |setting: &Setting<'_>| {
        let curl = Curl::new(&setting.shop.stranger)?;
        curl.arg("-k").certificate(&files).get(&url)
    };
    get(&setting)?
        .expect_exit(Exit::RECEIVE_ERROR)
        .context("unknown")?;
    setting.spire.bundle("b.example", &[&others])?;
    let agent = &setting.shop.agents.b;
    agent.wait_status("the other domain", |status| {
        status["trusted"][0]["what"] == "b.example"
    })?;
    get(&setting)?.expect_ok(GREETING).context("federated")?;
    setting.spire.bundle("b.example", &[])?;
    let agent = &setting.shop.agents.b;
    agent.wait_status("its end", |status| status["trusted"][0].is_null())?;
    get(&setting)?
        .expect_exit(Exit::RECEIVE_ERROR)
        .context("not any more")?;

    // A root that is added signs, and the old one goes.
    let next = Pki::foreign()?;
    setting
        .spire
        .bundle("cluster.local", &[&setting.pki, &next])?;
    let leaf = next.leaf(&Wanted::spiffe(CUSTOMER))?;
    setting
        .spire
        .entry("customer", &selectors(&["sa:customer"]), &leaf)?;
    setting.pki = next;
    let web = setting.give(Validity::Now)?;
    setting.wait_shown(&web)?;
    setting.spire.bundle("cluster.local", &[&setting.pki])?;
    setting
        .get(&setting.shop.customer)
        .context("under the new root")?;
    let shop = &setting.shop;
    shop.metric(NodeName::B, "sealane_ca_healthy", &[], 1.0)
}
