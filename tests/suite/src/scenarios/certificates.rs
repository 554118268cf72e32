//! Foreign TLS clients against the mesh, and the certificates that the mesh shows.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use sealane_harness::{
    Pod,
    apps::{Answer, Curl, Exit, Leaf, SClient, leaf, show_certificates},
    memory::holds_key,
    pki::{LeafFiles, Pki, Validity, Wanted},
    tls, until,
};

use crate::{
    pair::Pair,
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// TLS without a client certificate against STRICT: refused in the handshake (TLS 1.2) or by an alert after
/// it (TLS 1.3, where the client is done first).
pub fn strict_tls_no_cert(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let get = |version: &[&str]| -> Result<Answer> {
        let mut curl = Curl::new(&shop.stranger)?.arg("-k");
        for argument in version {
            curl = curl.arg(argument);
        }
        curl.get(&https(&shop))
    };
    get(&["--tls-max", "1.2"])?
        .expect_exit(Exit::TLS_CONNECT_ERROR)
        .context("TLS 1.2")?;
    get(&["--tlsv1.3"])?
        .expect_exit(Exit::RECEIVE_ERROR)
        .context("TLS 1.3")
}

/// A certificate of the mesh gets through, in both versions of TLS.
pub fn strict_tls_cert(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let files = mesh_certificate(&shop)?;
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        // The certificate names a workload, not a host: -k, as Istio's own documentation does it.
        let curl = Curl::new(&shop.stranger)?.arg("-k").certificate(&files);
        let curl = match version.split_once('=') {
            Some((flag, value)) => curl.arg(flag).arg(value),
            None => curl.arg(version),
        };
        curl.get(&https(&shop))?
            .expect_ok(GREETING)
            .context(version)?;
    }
    Ok(())
}

/// The private key of a pod that left is nowhere in the agent.
pub fn forgotten_keys(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(WEB)?;
    let customer = shop.customer.spec.clone();
    Pair::open(&shop.customer, shop.web_address(WEB), &listener)?.talk()?;
    let pid = shop.agents.a.pid();
    let key = public_key(&shop, &shop.customer)?;
    ensure!(
        holds_key(pid, &key)?,
        "the key of a pod that is there wasn't found"
    );
    shop.world().objects.remove_pod(&customer)?;
    let gone = until("the key to be gone", SOON, || {
        Ok((!holds_key(pid, &key)?).then_some(()))
    });
    gone.context("a pod's key outlives it")
}

/// Of the certificate that a pod shows, uncompressed.
fn public_key(shop: &Shop<'_>, pod: &Pod) -> Result<Vec<u8>> {
    const PORT: u16 = 9001;
    const POINT: [u8; 4] = [0x03, 0x42, 0x00, 0x04];
    let _listener = pod.listen(PORT)?;
    let address = pod.address(shop.family(), PORT);
    let socket = shop.stranger.connect(address)?;
    let leaf = Pki::of_mesh(&shop.world().ca)?.leaf(&Wanted::spiffe(&shop.web.identity()))?;
    let stream = tls::connect(socket, Some(&leaf), &[])?;
    let chain = stream.conn.peer_certificates().context("no certificate")?;
    let certificate = chain.first().context("an empty chain")?;
    let point = certificate.windows(POINT.len()).position(|w| w == POINT);
    let start = point.context("no key on P-256")? + POINT.len() - 1;
    Ok(certificate[start..start + 65].to_vec())
}

/// Certificates that must not get through.
pub fn strict_tls_bad_cert(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let mesh = Pki::of_mesh(&shop.world().ca)?;
    let other = Pki::foreign()?;
    let good = "spiffe://cluster.local/ns/shop/sa/customer";
    let two = Wanted {
        uris: vec![
            good.to_owned(),
            "spiffe://cluster.local/ns/a/sa/b".to_owned(),
        ],
        ..Wanted::spiffe(good)
    };
    let bad = [
        ("another root", &other, Wanted::spiffe(good)),
        ("expired", &mesh, Wanted::spiffe(good).valid(Validity::Past)),
        (
            "not yet valid",
            &mesh,
            Wanted::spiffe(good).valid(Validity::Future),
        ),
        (
            "another trust domain",
            &mesh,
            Wanted::spiffe("spiffe://elsewhere.test/ns/shop/sa/customer"),
        ),
        (
            "no workload's path",
            &mesh,
            Wanted::spiffe("spiffe://cluster.local/x"),
        ),
        (
            "not SPIFFE",
            &mesh,
            Wanted::spiffe("https://cluster.local/ns/shop/sa/customer"),
        ),
        ("a host's name", &mesh, Wanted::server("customer.shop.svc")),
        ("two identities", &mesh, two),
    ];
    for (what, authority, wanted) in bad {
        let files = authority
            .leaf(&wanted)?
            .write(&shop.world().scratch("leaf")?)?;
        let curl = Curl::new(&shop.stranger)?.arg("-k").arg("--tlsv1.3");
        let answer = curl.certificate(&files).get(&https(&shop))?;
        answer
            .expect_exit(Exit::RECEIVE_ERROR)
            .with_context(|| format!("{what} got through"))?;
    }
    shop.get(&shop.customer)?.expect_ok(GREETING)
}

/// A client without a certificate is still shown the workload's: one SPIFFE ID, a day at most, for both roles,
/// with a chain to the mesh's root.
pub fn s_client_showcerts(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let shown = leaf(&show_certificates(&shop.stranger, shop.web_address(WEB))?)?;
    let expected = Leaf {
        uris: vec![shop.web.identity()],
        other_names: 0,
        server_auth: true,
        client_auth: true,
        digital_signature: true,
        is_ca: false,
        ..shown.clone()
    };
    ensure!(shown == expected, "shown: {shown:?}");
    ensure!(shown.lifetime <= DAY, "valid for {:?}", shown.lifetime);
    let files = mesh_certificate(&shop)?;
    let output = SClient {
        pod: &shop.stranger,
        server: shop.web_address(WEB),
        certificate: Some(&files),
        arguments: &["-verify_return_error"],
    }
    .run()?;
    if !output.stdout.contains("Verify return code: 0 (ok)") {
        bail!("the chain doesn't verify: {}", output.describe());
    }
    Ok(())
}

/// A workload's certificate is replaced before it expires; open connections outlive the old one.
pub fn cert_rotation(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop_with("STRICT", &["--svid-ttl", "10s"])?;
    let listener = shop.web.listen(WEB)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(WEB), &listener)?;
    pair.talk()?;
    let show = || leaf(&show_certificates(&shop.stranger, shop.web_address(WEB))?);
    let first = show()?;
    until("another certificate", Duration::from_secs(15), || {
        pair.talk()?;
        // Each look is a handshake.
        thread::sleep(Duration::from_millis(500));
        Ok((show()?.serial != first.serial).then_some(()))
    })?;
    until("the first one's end", Duration::from_secs(20), || {
        pair.talk()?;
        Ok((now()? > first.not_after).then_some(()))
    })?;
    pair.talk()?;
    Pair::open(&shop.customer, shop.web_address(WEB), &listener)?.talk()?;
    let rows = shop.agents.b.certificates()?;
    let row = rows
        .iter()
        .find(|row| row["identity"] == shop.web.identity())
        .with_context(|| format!("no certificate of web: {rows:?}"))?;
    ensure!(row["state"] == "valid", "{row}");
    Ok(())
}

fn https(shop: &Shop<'_>) -> String {
    format!("https://{}/", shop.web_address(WEB))
}

/// A certificate as a workload of the mesh would have it.
fn mesh_certificate(shop: &Shop<'_>) -> Result<LeafFiles> {
    Pki::of_mesh(&shop.world().ca)?
        .leaf(&Wanted::spiffe(
            "spiffe://cluster.local/ns/shop/sa/customer",
        ))?
        .write(&shop.world().scratch("leaf")?)
}

fn now() -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}
