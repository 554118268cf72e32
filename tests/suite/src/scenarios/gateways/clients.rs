//! Whom a gateway lets in, and with which TLS: shown with openssl and curl.

use std::fs;

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    apps::{Answer, SClient},
    objects::MESH,
    pki::{Leaf, LeafFiles, Pki, Wanted},
    until,
};

use super::edge::{Edge, HTTPS, gateway, pair, routed, secret, to};
use crate::{
    scenarios::trust::{expect_open, expect_over, keep},
    stage::{SOON, Stage, WEB, service},
};

const HOST: &str = "server.test";
const URL: &str = "https://server.test/";

/// The gateway's certificate, with which authority clients' are to be from.
fn credential(own: &LeafFiles, authority: &std::path::Path) -> Result<String> {
    let files = [
        ("tls.crt", &*own.certificate),
        ("tls.key", &*own.key),
        ("ca.crt", authority),
    ];
    secret(MESH, "cert", &files)
}

/// A gateway in front of `web` whose TLS is as `tls` says.
struct Door<'a> {
    edge: Edge<'a>,
    pki: Pki,
    own: LeafFiles,
    _nginx: sealane_harness::apps::Nginx,
}

impl<'a> Door<'a> {
    fn new(stage: &Stage<'a>, tls: &str, pki: Pki, flags: &[&str]) -> Result<Self> {
        let world = stage.world;
        let own = pki.leaf(&Wanted::server(HOST))?;
        let own = own.write(&world.scratch("own")?)?;
        world.objects.service(&service("web", 30, &WEB))?;
        world
            .objects
            .raw("cert.yaml", &credential(&own, &own.root)?)?;
        let server = format!(
            "{{port: {{number: {HTTPS}, name: tls, protocol: HTTPS}}, hosts: [\"*\"], tls: {{credentialName: cert, {tls}}}}}"
        );
        let documents = gateway(&[server]) + &routed("web", HOST, "http: [{", &to("web"));
        let edge = Edge::with(stage, &documents, flags)?;
        let nginx = edge.shop.nginx()?;
        Ok(Self {
            edge,
            pki,
            own,
            _nginx: nginx,
        })
    }

    fn write(&self, leaf: &Leaf) -> Result<LeafFiles> {
        let files = leaf.write(&self.edge.shop.world().scratch("leaf")?)?;
        // The gateway's own certificate is of its own root, whosever the client's is.
        Ok(LeafFiles {
            root: self.own.root.clone(),
            ..files
        })
    }

    fn get(&self, files: &LeafFiles) -> Result<Answer> {
        self.edge.client()?.certificate(files).get(URL)
    }

    fn expect_refused(&self, files: &LeafFiles) -> Result<()> {
        let answer = self.get(files)?;
        ensure!(answer.exit != Some(0) && answer.status == 0, "{answer:?}");
        Ok(())
    }
}

/// OPTIONAL_MUTUAL: who shows no certificate is let in, who shows one must show a good one.
pub fn optional(stage: &Stage<'_>) -> Result<()> {
    let door = Door::new(stage, "mode: OPTIONAL_MUTUAL", Pki::foreign()?, &[])?;
    let bare = || door.edge.curl(URL, Some(&door.own.root));
    door.edge.wait_ok("without a certificate", bare)?;
    let good = door.write(&door.pki.leaf(&Wanted::server("client.test"))?)?;
    door.edge
        .wait_ok("with a certificate", || door.get(&good))?;
    let wrong = Pki::foreign()?.leaf(&Wanted::server("client.test"))?;
    let wrong = door.write(&wrong)?;
    door.expect_refused(&wrong)?;
    let wanted = SClient {
        pod: &door.edge.shop.stranger,
        server: door.edge.address(HTTPS),
        certificate: Some(&good),
        arguments: &["-servername", HOST],
    }
    .run()?;
    ensure!(
        wanted
            .stdout
            .contains("Acceptable client certificate CA names"),
        "no certificate is asked for: {}",
        wanted.describe()
    );
    Ok(())
}

/// `subjectAltNames`: one of them must be in the client's certificate, whichever kind of name it is.
pub fn names(stage: &Stage<'_>) -> Result<()> {
    const URI: &str = "spiffe://b.example/ns/front/sa/web";
    let tls = format!("mode: MUTUAL, subjectAltNames: [good.test, \"{URI}\"]");
    let door = Door::new(stage, &tls, Pki::foreign()?, &[])?;
    let leaf = |wanted: &Wanted| door.write(&door.pki.leaf(wanted)?);
    for (what, wanted) in [
        ("a DNS name", Wanted::server("good.test")),
        ("a URI", Wanted::spiffe(URI)),
    ] {
        let files = leaf(&wanted)?;
        door.edge.wait_ok(what, || door.get(&files))?;
    }
    for (what, wanted) in [
        ("another DNS name", Wanted::server("bad.test")),
        ("a name below", Wanted::server("a.good.test")),
        (
            "another URI",
            Wanted::spiffe("spiffe://b.example/ns/front/sa/we"),
        ),
    ] {
        door.expect_refused(&leaf(&wanted)?).context(what)?;
    }
    let bare = door.edge.curl(URL, Some(&door.own.root))?;
    ensure!(bare.status == 0, "without a certificate: {bare:?}");
    Ok(())
}

/// `minProtocolVersion`, `maxProtocolVersion` and `cipherSuites` of servers on one port.
pub fn versions(stage: &Stage<'_>) -> Result<()> {
    const SUITE: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
    let world = stage.world;
    let files = Pki::foreign()?.leaf(&Wanted::server("any.test"))?;
    let files = files.write(&world.scratch("own")?)?;
    world.objects.service(&service("web", 31, &WEB))?;
    let server = |name: &str, tls: &str| {
        format!(
            "{{port: {{number: {HTTPS}, name: {name}, protocol: HTTPS}}, hosts: [{name}.test], \
             tls: {{mode: SIMPLE, credentialName: cert, {tls}}}}}"
        )
    };
    let old = format!("maxProtocolVersion: TLSV1_2, cipherSuites: [{SUITE}]");
    let documents = gateway(&[
        server("new", "minProtocolVersion: TLSV1_3"),
        server("old", &old),
        server("any", "minProtocolVersion: TLSV1_2"),
    ]) + &routed("web", "*.test", "http: [{", &to("web"))
        + &pair("cert", &files)?;
    let edge = Edge::new(stage, &documents)?;
    let agreed = |host: &str, version: &str, cipher: &[&str]| -> Result<Option<String>> {
        let mut arguments = vec!["-servername", host, version];
        arguments.extend(cipher);
        let output = SClient {
            pod: &edge.shop.stranger,
            server: edge.address(HTTPS),
            certificate: None,
            arguments: &arguments,
        }
        .run()?;
        let suite = output.stdout.split("Cipher is ").nth(1);
        let suite = suite.and_then(|rest| rest.lines().next()).map(str::trim);
        Ok(suite.filter(|s| *s != "(NONE)").map(ToOwned::to_owned))
    };
    let another = ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    until("the way in", SOON, || agreed("new.test", "-tls1_3", &[]))?;
    for (host, version, cipher, expected) in [
        ("new.test", "-tls1_2", &[][..], None),
        ("old.test", "-tls1_3", &[], None),
        ("old.test", "-tls1_2", &[], Some(SUITE)),
        ("old.test", "-tls1_2", &another[..], None),
        ("any.test", "-tls1_2", &another[..], Some(another[1])),
    ] {
        let suite = agreed(host, version, cipher)?;
        ensure!(
            suite.as_deref() == expected,
            "{host} {version} {cipher:?}: {suite:?}"
        );
    }
    let modern = agreed("any.test", "-tls1_3", &[])?;
    ensure!(
        modern.as_deref().is_some_and(|s| s.starts_with("TLS_")),
        "{modern:?}"
    );
    Ok(())
}

/// What is shown to one server opens no other: inside of TLS a request is for a host that TLS may be for.
pub fn misdirected(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let pki = Pki::foreign()?;
    let written = |name: &str| {
        pki.leaf(&Wanted::server(name))?
            .write(&world.scratch(name)?)
    };
    let (own, client) = (written("own.test")?, written("client.test")?);
    world.objects.service(&service("web", 32, &WEB))?;
    let server = |name: &str, mode: &str| {
        format!(
            "{{port: {{number: {HTTPS}, name: {name}, protocol: HTTPS}}, hosts: [{name}.test], \
             tls: {{mode: {mode}, credentialName: cert}}}}"
        )
    };
    let documents = gateway(&[server("open", "SIMPLE"), server("closed", "MUTUAL")])
        + &routed("web", "*.test", "http: [{", &to("web"))
        + &credential(&own, &own.root)?;
    let edge = Edge::new(stage, &documents)?;
    let _nginx = edge.shop.nginx()?;
    let ask = |name: &str, host: &str| {
        let curl = edge.client()?.certificate(&client).arg("-k");
        let curl = curl.arg("-H").arg(format!("Host: {host}"));
        curl.get(&format!("https://{name}.test/"))
    };
    for name in ["open", "closed"] {
        edge.wait_ok(name, || ask(name, &format!("{name}.test")))?;
    }
    for (name, host, status) in [
        ("open", "closed.test", 421),
        ("closed", "open.test:443", 421),
        ("open", "other.test", 421),
        ("open", "a b", 400),
    ] {
        let answer = ask(name, host)?;
        ensure!(
            answer.status == status,
            "{host} inside of {name}: {answer:?}"
        );
    }
    ensure!(edge.refused("no_route")? >= 4.0, "not counted");
    Ok(())
}

/// `--crl`: a client whose certificate is revoked is cut and stays out, others lose nothing; so it goes with those whose
/// authority isn't trusted any more.
pub fn revoked(stage: &Stage<'_>) -> Result<()> {
    let pki = Pki::foreign()?;
    let file = stage.world.scratch("revoked")?.join("crl.pem");
    fs::write(&file, pki.revocation_list(&[])?)?;
    let flag = file.to_string_lossy().into_owned();
    let door = Door::new(stage, "mode: MUTUAL", pki, &["--crl", &flag])?;
    let made = || door.pki.leaf(&Wanted::server("client.test"));
    let (lost, other) = (made()?, made()?);
    let (lost_files, other_files) = (door.write(&lost)?, door.write(&other)?);
    door.edge.wait_ok("the way in", || door.get(&lost_files))?;
    let edge = &door.edge;
    let open = |leaf: &Leaf| keep(edge.shop.stranger.connect(edge.address(HTTPS))?, Some(leaf));
    let (goes, mut stays) = (open(&lost)?, open(&other)?);

    // Not by a list of somebody else's.
    let mesh = Pki::of_mesh(&stage.world.ca)?;
    let wrong = mesh.revocation_list(&[&other])?;
    fs::write(&file, wrong + &door.pki.revocation_list(&[&lost])?)?;
    expect_over(goes).context("the revoked one's connection")?;
    edge.wait_cuts("untrusted", 1.0)?;
    door.expect_refused(&lost_files)?;
    edge.wait_ok("another certificate", || door.get(&other_files))?;
    expect_open(&mut stays).context("the other's connection")?;

    let next = mesh.leaf(&Wanted::server("client.test"))?;
    let next_files = next.write(&edge.shop.world().scratch("next")?)?;
    let objects = &edge.shop.world().objects;
    objects.raw("cert.yaml", &credential(&door.own, &next_files.root)?)?;
    expect_over(stays).context("the connection of another authority's client")?;
    edge.wait_cuts("untrusted", 2.0)?;
    door.expect_refused(&other_files)?;
    let next_files = door.write(&next)?;
    edge.wait_ok("the next authority's client", || door.get(&next_files))
}
