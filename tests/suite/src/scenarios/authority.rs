//! The CA service: agents and foreign clients that ask it, whom it refuses, and what becomes of the mesh without it.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sealane_harness::{
    NodeName,
    apps::{CertificateAnswer, CertificateCall, csr, leaf, show_certificates},
    authority::{Authority, claims, now},
    until,
};
use serde_json::json;

use crate::{
    pair::Pair,
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Of openssl's new keys.
pub(super) const P256: [&str; 3] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
/// <https://grpc.io/docs/guides/status-codes/>
pub(super) const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;
pub(super) const PERMISSION_DENIED: u32 = 7;
pub(super) const UNAUTHENTICATED: u32 = 16;

/// Agents get their pods' certificates from a CA under a company's root, and openssl finds nothing wrong with them.
pub fn service(stage: &Stage<'_>) -> Result<()> {
    let authority = Authority::start(stage.world, stage.family, &[])?;
    let shop = stage.shop_of("STRICT", || authority.start_agents(stage.world, &[]))?;
    let _nginx = shop.nginx()?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    ensure!(!stage.world.ca.exists(), "an agent made a CA of its own");

    let shown = show_certificates(&shop.stranger, shop.web_address(WEB))?;
    let certificate = leaf(&shown)?;
    ensure!(certificate.uris == [shop.web.identity()], "{certificate:?}");
    ensure!(certificate.other_names == 0, "{certificate:?}");
    ensure!(certificate.lifetime <= DAY, "{certificate:?}");
    verify(&shop, &authority, &shown)?;

    let metrics = authority.metrics()?;
    let signed = metrics.sum("sealane_ca_requests_total", &[("result", "ok")]);
    ensure!(signed >= 2.0, "{signed} signed");
    let status = authority.status(&[])?.success()?.stdout;
    ensure!(status.contains("Ready:        yes"), "{status}");
    let log = authority.log()?;
    let line = log.lines().find(|line| line.contains(&certificate.serial));
    let line = line.with_context(|| format!("{} is not in the log", certificate.serial))?;
    ensure!(
        line.contains(&shop.web.identity()) && line.contains("sealane-agent"),
        "{line}"
    );
    let token = authority.agent_token(NodeName::A);
    let signature = token.rsplit('.').next().unwrap_or_default();
    for log in [&log, &shop.agents.a.log()?] {
        ensure!(
            !log.contains(&token) && !log.contains(signature),
            "a token is in a log"
        );
    }
    Ok(())
}

/// `openssl verify`, as strictly as it can, for both roles.
fn verify(shop: &Shop<'_>, authority: &Authority, shown: &str) -> Result<()> {
    let scratch = shop.world().scratch("shown")?;
    let blocks: Vec<_> = shown
        .split_inclusive("-----END CERTIFICATE-----")
        .filter_map(|text| {
            text.find("-----BEGIN CERTIFICATE")
                .map(|start| &text[start..])
        })
        .collect();
    let [leaf, above @ ..] = blocks.as_slice() else {
        anyhow::bail!("nothing was shown");
    };
    let [leaf_file, above_file] = ["leaf.crt", "above.crt"].map(|name| scratch.join(name));
    fs::write(&leaf_file, leaf)?;
    fs::write(&above_file, above.join("\n"))?;
    for purpose in ["sslserver", "sslclient"] {
        let mut command = shop.stranger.command("openssl")?;
        command.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]);
        command.arg(authority.roots());
        command.arg("-untrusted").arg(&above_file).arg(&leaf_file);
        shop.stranger
            .run("openssl-verify", command, SOON)?
            .success()?;
    }
    Ok(())
}

/// A foreign client, put together from curl and openssl.
struct Client<'a> {
    shop: &'a Shop<'a>,
    authority: &'a Authority,
}

impl Client<'_> {
    fn csr(&self, key: &[&str]) -> Result<String> {
        csr(&self.shop.stranger, &self.shop.world().scratch("csr")?, key)
    }

    fn send(&self, call: &CertificateCall) -> Result<CertificateAnswer> {
        let scratch = self.shop.world().scratch("grpc")?;
        call.send(&self.shop.stranger, self.authority, &scratch)
    }

    fn refused(&self, reason: &str, status: u32, call: &CertificateCall) -> Result<()> {
        let count = || -> Result<f64> {
            let labels = [("result", "refused"), ("reason", reason)];
            Ok(self
                .authority
                .metrics()?
                .sum("sealane_ca_requests_total", &labels))
        };
        let before = count()?;
        let answer = self.send(call)?;
        ensure!(
            answer.status == status && answer.chain.is_empty(),
            "{reason}: {answer:?}"
        );
        ensure!(count()? > before, "{reason} is not counted: {answer:?}");
        let log = self.authority.log()?;
        ensure!(
            log.contains(&format!("reason=\"{reason}\"")),
            "{reason} is not in the log: {log}"
        );
        Ok(())
    }
}

/// Whatever isn't granted is refused, counted, and logged with both identities.
pub fn refuses(stage: &Stage<'_>) -> Result<()> {
    let authority = Authority::start(stage.world, stage.family, &["--max-ttl", "1h"])?;
    let shop = stage.shop_of("STRICT", || authority.start_agents(stage.world, &[]))?;
    let client = Client {
        shop: &shop,
        authority: &authority,
    };
    let good = CertificateCall {
        csr: client.csr(&P256)?,
        validity: 600,
        impersonated: Some(shop.web.identity()),
        token: Some(authority.agent_token(NodeName::B)),
        certificate: None,
    };
    let first = client.send(&good)?;
    ensure!(first.status == OK && first.chain.len() == 3, "{first:?}");
    let issued = leaf(&first.chain[0])?;
    ensure!(issued.uris == [shop.web.identity()], "{issued:?}");
    ensure!(issued.server_auth && issued.client_auth, "{issued:?}");
    ensure!(issued.lifetime <= Duration::from_secs(660), "{issued:?}");
    verify(&shop, &authority, &first.chain.concat())?;
    client.refused("replayed", PERMISSION_DENIED, &good)?;

    let fresh = CertificateCall {
        csr: client.csr(&P256)?,
        ..good
    };
    bad_callers(&client, &fresh)?;
    bad_requests(&client, &fresh)?;
    let log = authority.log()?;
    let line = log.lines().find(|line| line.contains("\"not_on_node\""));
    let line = line.context("no such line")?;
    let names_both =
        line.contains("sa/sealane-agent on node") && line.contains(&shop.web.identity());
    ensure!(names_both, "{line}");

    let long = CertificateCall {
        validity: 30 * 24 * 3600,
        ..fresh
    };
    let capped = client.send(&long)?;
    ensure!(capped.status == OK, "{capped:?}");
    let life = leaf(&capped.chain[0])?.lifetime;
    ensure!(life <= Duration::from_secs(3660), "valid for {life:?}");
    Ok(())
}

/// `good`, sent by those who may not.
fn bad_callers(client: &Client<'_>, good: &CertificateCall) -> Result<()> {
    let authority = client.authority;
    let with = |token: Option<String>| CertificateCall {
        token,
        ..good.clone()
    };
    let claiming = |name: &str, value: serde_json::Value| {
        let mut claims = claims("sealane-system", "sealane-agent", NodeName::B.name());
        claims[name] = value;
        with(Some(authority.token(&claims)))
    };
    let elsewhere = authority.agent_token(NodeName::A);
    let ordinary = authority.token(&claims("shop", "customer", NodeName::B.name()));
    let garbage = "a.b.c".to_owned();
    for (reason, status, call) in [
        ("not_on_node", PERMISSION_DENIED, with(Some(elsewhere))),
        ("not_node_account", PERMISSION_DENIED, with(Some(ordinary))),
        ("no_credentials", UNAUTHENTICATED, with(None)),
        ("token_invalid", UNAUTHENTICATED, with(Some(garbage))),
        (
            "token_audience",
            UNAUTHENTICATED,
            claiming("aud", json!(["kubernetes"])),
        ),
        (
            "token_expired",
            UNAUTHENTICATED,
            claiming("exp", json!(now() - 60)),
        ),
        (
            "token_issuer",
            UNAUTHENTICATED,
            claiming("iss", json!("https://a.test")),
        ),
    ] {
        client.refused(reason, status, &call)?;
    }
    Ok(())
}

/// `good`, with keys and signatures that are too weak.
fn bad_requests(client: &Client<'_>, good: &CertificateCall) -> Result<()> {
    for key in [["rsa:1024", "-sha256"], ["rsa:2048", "-sha1"]] {
        let call = CertificateCall {
            csr: client.csr(&key)?,
            ..good.clone()
        };
        client
            .refused("csr", INVALID_ARGUMENT, &call)
            .with_context(|| key.join(" "))?;
    }
    Ok(())
}

/// How long certificates live here.
const LIFE: Duration = Duration::from_secs(20);

/// Without the CA everything goes on for as long as the certificates live; then it fails closed, and recovers by itself.
pub fn lost(stage: &Stage<'_>) -> Result<()> {
    let mut authority = Authority::start(stage.world, stage.family, &[])?;
    let flags = ["--svid-ttl", "20s"];
    let shop = stage.shop_of("STRICT", || authority.start_agents(stage.world, &flags))?;
    let _nginx = shop.nginx()?;
    let healthy = |yes: bool| {
        for agent in [&shop.agents.a, &shop.agents.b] {
            agent.wait_status("the CA's health", |status| status["ca"]["healthy"] == yes)?;
        }
        anyhow::Ok(())
    };
    shop.get(&shop.customer)?.expect_ok(GREETING)?;

    let rows = [shop.agents.a.certificates()?, shop.agents.b.certificates()?].concat();
    let ends = rows.iter().map(|row| -> Result<Timestamp> {
        Ok(row["not_after"].as_str().context("no end")?.parse()?)
    });
    let end = ends.collect::<Result<Vec<_>>>()?.into_iter().min();
    let end = end.context("no certificate")?;
    authority.kill()?;
    while Timestamp::now() < end - SignedDuration::from_secs(1) {
        shop.get(&shop.customer)?.expect_ok(GREETING)?;
        thread::sleep(Duration::from_millis(500));
    }
    healthy(false)?;
    let told = shop.agents.a.operator(&["status"])?.stdout;
    ensure!(told.contains("failing: "), "{told}");
    let reason = [("reason", "unreachable")];
    shop.metric(
        NodeName::A,
        "sealane_certificate_failures_total",
        &reason,
        1.0,
    )?;

    let closed = |closed: bool| {
        until(&format!("closed = {closed}"), LIFE + SOON, || {
            let got_through = shop.get(&shop.customer)?.status == 200;
            Ok((got_through != closed).then_some(()))
        })
    };
    closed(true)?;
    until("the certificate's end", LIFE, || {
        let rows = shop.agents.b.certificates()?;
        let expired = rows.iter().all(|row| row["state"] == "expired");
        Ok(expired.then_some(()))
    })?;

    authority.restart(&[])?;
    closed(false)?;
    healthy(true)?;
    let listener = shop.web.listen(WEB + 1)?;
    Pair::open(&shop.customer, shop.web_address(WEB + 1), &listener)?.talk()?;
    authority.stop()?;
    Ok(())
}
