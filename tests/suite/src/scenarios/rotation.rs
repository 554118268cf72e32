//! The CA's keys change while the mesh is at work.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Agent, NodeName, Pod,
    apps::{CertificateAnswer, CertificateCall, csr, leaf},
    authority::Authority,
    pki::Pki,
    until,
};

use super::authority::P256;
use crate::{
    pair::Pair,
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

/// How long certificates live here.
const LIFE: Duration = Duration::from_secs(60);
/// Has certificates live so long.
const SHORT: [&str; 2] = ["--max-ttl", "60s"];
const SECOND: Duration = Duration::from_secs(1);
/// Workloads of each node that are there by name only, beside those that talk.
const SILENT: usize = 99;
/// Between two connections of one client.
const PAUSE: Duration = Duration::from_millis(20);
const TALK: u16 = 9000;

/// The root changes under load: no handshake fails, no connection is lost.
pub fn under_load(stage: &Stage<'_>) -> Result<()> {
    let authority = Authority::start_self_made(stage.world, stage.family, &SHORT)?;
    under_way(stage, &authority, |shop, load| {
        change(shop, &authority, load)
    })
}

/// With hundreds of workloads whose certificates are short-lived, and load on some of them, nothing fails while `change`
/// is going on.
fn under_way(
    stage: &Stage<'_>,
    authority: &Authority,
    change: impl FnOnce(&Shop<'_>, &Load) -> Result<()>,
) -> Result<()> {
    let ours = ["--svid-ttl", "60s"];
    let shop = stage.shop_of("STRICT", || authority.start_agents(stage.world, &ours))?;
    let _nginx = shop.nginx()?;
    shop.world().objects.raw("silent.yaml", &silent()?)?;
    for agent in [&shop.agents.a, &shop.agents.b] {
        until("all certificates", LIFE, || {
            let rows = agent.certificates()?;
            let valid = rows.iter().filter(|row| row["state"] == "valid");
            Ok((valid.count() > SILENT).then_some(()))
        })?;
    }
    // An agent may know of a pod before the CA does: it is refused then, and asks again.
    let before = [failures(&shop.agents.a)?, failures(&shop.agents.b)?];
    let load = Load::default();
    let changed = thread::scope(|scope| {
        let loads = [
            scope.spawn(|| load.requests(&shop)),
            scope.spawn(|| load.requests(&shop)),
            scope.spawn(|| load.talk(&shop)),
        ];
        let changed = change(&shop, &load);
        load.stop.store(true, Ordering::Relaxed);
        for load in loads {
            load.join()
                .map_err(|_| anyhow::anyhow!("the load has panicked"))??;
        }
        changed
    });
    changed?;
    for (agent, before) in [&shop.agents.a, &shop.agents.b].into_iter().zip(before) {
        let after = failures(agent)?;
        ensure!(after == before, "{before:?}, then {after:?}");
    }
    Ok(())
}

/// What may not change: as text, because that is what is told.
fn failures(agent: &Agent) -> Result<Vec<String>> {
    let metrics = agent.metrics()?;
    let counted = [
        ("sealane_handshakes_total", &[("result", "error")][..]),
        ("sealane_connections_refused_total", &[]),
        ("sealane_policy_cuts_total", &[]),
        ("sealane_certificate_failures_total", &[]),
    ];
    let counted = counted.map(|(name, labels)| format!("{name} {}", metrics.sum(name, labels)));
    Ok(counted.to_vec())
}

/// From the first root to the second.
fn change(shop: &Shop<'_>, authority: &Authority, load: &Load) -> Result<()> {
    let old = signing_root(authority)?;
    authority.rotate(&["--root"])?.success()?;
    let second = authority.rotate(&["--root"])?;
    ensure!(
        second.code() != Some(0) && second.stderr.contains("distributing"),
        "{second:?}"
    );
    stage(authority, load, "distributing")?;
    let shown = authority.status(&[])?.success()?.stdout;
    ensure!(shown.contains("root, distributing until"), "{shown}");
    ensure!(
        signing_root(authority)? == old,
        "the new root signs too early"
    );
    stage(authority, load, "signing")?;
    let new = signing_root(authority)?;
    ensure!(new != old, "the old root still signs");
    stage(authority, load, "retiring")?;
    stage(authority, load, "stable")?;
    let roots = authority.json()?["roots"].as_array().map(Vec::len);
    ensure!(roots == Some(1), "{roots:?} roots are left");
    let agents = [&shop.agents.a, &shop.agents.b].map(Agent::certificates);
    for row in agents.into_iter().collect::<Result<Vec<_>>>()?.concat() {
        ensure!(row["state"] == "valid", "{row}");
    }
    load.goes_on()
}

/// Waits for a stage of the rotation, while the load goes on.
fn stage(authority: &Authority, load: &Load, stage: &str) -> Result<()> {
    until(stage, 2 * LIFE, || {
        load.goes_on()?;
        let status = authority.json()?;
        let metrics = authority.metrics()?;
        let now = [("stage", stage)];
        let counted = metrics.sum("sealane_ca_rotation_stage", &now);
        let reached = status["rotation"]["stage"] == stage && counted > 0.0;
        Ok(reached.then_some(()))
    })
}

/// The fingerprint of the root that signs, as status shows it.
fn signing_root(authority: &Authority) -> Result<String> {
    let status = authority.json()?;
    let roots = status["roots"].as_array().context("no roots")?;
    let signing = roots.iter().find(|root| root["use"] == "signing");
    let signing = signing.and_then(|root| root["fingerprint"].as_str());
    Ok(signing.context("no root signs")?.to_owned())
}

/// What goes on all the time.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    done: AtomicU64,
    seen: AtomicU64,
}

impl Load {
    fn going(&self) -> bool {
        self.done.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
        !self.stop.load(Ordering::Relaxed)
    }

    /// Somebody has been served since this was asked last, or is about to be.
    fn goes_on(&self) -> Result<()> {
        let seen = self.seen.load(Ordering::Relaxed);
        until("the load to go on", SOON, || {
            let done = self.done.load(Ordering::Relaxed);
            Ok((done > seen).then_some(()))
        })?;
        let done = self.done.load(Ordering::Relaxed);
        self.seen.store(done, Ordering::Relaxed);
        Ok(())
    }

    /// One connection after another, each with a handshake.
    fn requests(&self, shop: &Shop<'_>) -> Result<()> {
        loop {
            request(&shop.customer, shop.web_address(WEB))?;
            if !self.going() {
                return Ok(());
            }
        }
    }

    /// One connection that outlives all.
    fn talk(&self, shop: &Shop<'_>) -> Result<()> {
        let listener = shop.web.listen(TALK)?;
        let mut pair = Pair::open(&shop.customer, shop.web_address(TALK), &listener)?;
        loop {
            pair.talk()?;
            if !self.going() {
                return Ok(());
            }
        }
    }
}

fn request(from: &Pod, to: SocketAddr) -> Result<()> {
    let mut stream = from.connect(to)?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the answer")?;
    ensure!(answer.contains(GREETING), "{answer}");
    Ok(())
}

/// Pods with accounts of their own, which never say a word.
fn silent() -> Result<String> {
    let mut text = String::new();
    for (node, third) in [(NodeName::A, 1), (NodeName::B, 2)] {
        for number in 1..=SILENT {
            let name = format!("silent-{}-{number}", node.name());
            write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  \
                 nodeName: {}\n  serviceAccountName: {name}\n  containers:\n  - name: main\n    image: \
                 example/main\nstatus:\n  phase: Running\n  podIPs:\n  - ip: \"192.0.{third}.{number}\"\n",
                node.name()
            )?;
        }
    }
    Ok(text)
}

/// An intermediate under the company's root is replaced in its files, and rotated by command: nobody notices.
pub fn intermediate(stage: &Stage<'_>) -> Result<()> {
    let company = Pki::foreign()?;
    let authority = Authority::start_under(&company, stage.world, stage.family, &SHORT)?;
    under_way(stage, &authority, |shop, load| {
        replace(stage, &authority, &company, load, shop)?;
        // Until nothing is left of what the first had signed.
        passing(LIFE, load)
    })
}

/// Lets time pass under load.
fn passing(time: Duration, load: &Load) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        load.goes_on()?;
        thread::sleep(SECOND);
    }
    Ok(())
}

fn replace(
    stage: &Stage<'_>,
    authority: &Authority,
    company: &Pki,
    load: &Load,
    shop: &Shop<'_>,
) -> Result<()> {
    let issued = || -> Result<Vec<String>> {
        let call = CertificateCall {
            csr: csr(&shop.stranger, &stage.world.scratch("csr")?, &P256)?,
            impersonated: Some(shop.web.identity()),
            token: Some(authority.agent_token(NodeName::B)),
            ..CertificateCall::default()
        };
        let answer = call.send(&shop.stranger, authority, &stage.world.scratch("grpc")?)?;
        ensure!(answer.status == 0, "{answer:?}");
        Ok(answer.chain)
    };
    let first = issued()?;
    let key = authority.directory.join("ca.key");
    let good = fs::read(&key)?;
    fs::write(&key, "not a key")?;
    until("the bad file in status", SOON, || {
        let status = authority.json()?;
        let told = status["files_error"].as_str();
        Ok(told
            .is_some_and(|error| error.contains("ca.key"))
            .then_some(()))
    })?;
    ensure!(
        issued()?[1] == first[1],
        "a bad file has changed the issuer"
    );
    fs::write(&key, good)?;

    company.intermediate(&authority.directory)?;
    let second = until("the new intermediate", SOON, || {
        load.goes_on()?;
        let chain = issued()?;
        Ok((chain[1] != first[1]).then_some(chain))
    })?;
    ensure!(second[2] == first[2], "the root is another");

    let above = stage.world.scratch("company")?;
    company.write(&above)?;
    let above = above.to_string_lossy();
    authority
        .rotate(&["--intermediate", "--issuer", &above])?
        .success()?;
    until("the third intermediate", SOON, || {
        load.goes_on()?;
        Ok((issued()?[1] != second[1]).then_some(()))
    })
}

/// A foreign client that keeps what it gets.
struct Client<'a> {
    shop: &'a Shop<'a>,
    authority: &'a Authority,
}

/// A certificate and where it lies.
struct Held {
    answer: CertificateAnswer,
    files: (PathBuf, PathBuf),
}

impl Client<'_> {
    fn ask(&self, call: CertificateCall) -> Result<Held> {
        let scratch = self.shop.world().scratch("renewal")?;
        let call = CertificateCall {
            csr: csr(&self.shop.stranger, &scratch, &P256)?,
            ..call
        };
        let answer = call.send(&self.shop.stranger, self.authority, &scratch)?;
        let chain = scratch.join("chain.pem");
        let above = answer.chain.len().saturating_sub(1);
        fs::write(&chain, answer.chain[..above].concat())?;
        Ok(Held {
            answer,
            files: (chain, scratch.join("csr.key")),
        })
    }

    fn renew(&self, held: &Held, impersonated: Option<String>) -> Result<Held> {
        self.ask(CertificateCall {
            impersonated,
            certificate: Some(held.files.clone()),
            ..CertificateCall::default()
        })
    }
}

/// A client renews with the certificate that it has, over the wire, until that is revoked.
pub fn renewal(stage: &Stage<'_>) -> Result<()> {
    let company = Pki::foreign()?;
    let list = stage.world.scratch("crl")?.join("crl.pem");
    fs::write(&list, company.revocation_of(vec![1_u64.into()])?)?;
    let flags = ["--crl", &list.to_string_lossy()];
    let authority = Authority::start_under(&company, stage.world, stage.family, &flags)?;
    let shop = stage.shop_of("STRICT", || authority.start_agents(stage.world, &[]))?;
    let client = Client {
        shop: &shop,
        authority: &authority,
    };
    let first = client.ask(CertificateCall {
        impersonated: Some(shop.web.identity()),
        token: Some(authority.agent_token(NodeName::B)),
        ..CertificateCall::default()
    })?;
    let second = client.renew(&first, None)?;
    ensure!(second.answer.status == 0, "{:?}", second.answer);
    let issued = leaf(&second.answer.chain[0])?;
    ensure!(issued.uris == [shop.web.identity()], "{issued:?}");
    let third = client.renew(&second, None)?;
    ensure!(third.answer.status == 0, "{:?}", third.answer);
    let another = client.renew(&second, Some(shop.customer.identity()))?;
    ensure!(another.answer.status == 7, "{:?}", another.answer);

    let serial = u128::from_str_radix(&issued.serial, 16)?.to_be_bytes();
    let issuer = Pki::of_mesh(&authority.directory)?;
    fs::write(&list, issuer.revocation_of(vec![serial.to_vec().into()])?)?;
    until("the refusal", SOON, || {
        let CertificateAnswer {
            status, message, ..
        } = client.renew(&second, None)?.answer;
        Ok((status == 7 && message.contains("revoked")).then_some(()))
    })?;
    let labels = [("result", "refused"), ("reason", "revoked")];
    let counted = authority
        .metrics()?
        .sum("sealane_ca_requests_total", &labels);
    ensure!(counted >= 1.0, "not counted");
    let others = client.renew(&first, None)?;
    ensure!(others.answer.status == 0, "{:?}", others.answer);
    Ok(())
}
