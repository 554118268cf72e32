//! Policy that nobody has applied: what `sealane policy diff` says of it is what happens when it is.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use sealane_harness::{Agent, NodeName, Pod, apps::Exit, process::Output, until};
use serde_json::Value;

use crate::{
    pair::{self, Pair},
    scenarios::authorization::ALLOW,
    stage::{GREETING, SOON, Shop, Stage},
};

const PORT: u16 = 9000;
const PEER: &str = "PeerAuthentication/shop/default";

const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: shop
spec:
  mtls:
    mode: STRICT
";

const DENY: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: no-customers
  namespace: shop
spec:
  action: DENY
  rules:
  - from:
    - source:
        principals: [\"cluster.local/ns/shop/sa/customer\"]
";

/// The usual cast, and files for candidates.
struct Setting<'a> {
    shop: Shop<'a>,
    scratch: PathBuf,
}

impl Setting<'_> {
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.scratch.join(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    fn agent(&self) -> &Agent {
        self.shop.agents.on(NodeName::B)
    }

    fn run(&self, text: &str, more: &[&str]) -> Result<Output> {
        let file = self.file("candidate.yaml", text)?;
        let arguments = [&["policy", "diff", "-f", &file], more].concat();
        self.agent().operator(&arguments)
    }

    /// What would change, and the exit code.
    fn diff(&self, text: &str, more: &[&str]) -> Result<(Value, Option<i32>)> {
        let output = self.run(text, &[more, &["-o", "json"]].concat())?;
        let answer = serde_json::from_str(&output.stdout).with_context(|| output.describe())?;
        Ok((answer, output.code()))
    }

    /// Waits until the agent has seen a client's connections end.
    fn seen(&self, pod: &Pod, security: &str, refused: u64) -> Result<()> {
        until("the flow to be known", SOON, || {
            let flows = self.agent().json("flows")?;
            let rows = flows["flows"].as_array().cloned().unwrap_or_default();
            let wanted = |row: &Value| {
                row["client"] == name(pod)
                    && row["security"] == security
                    && row["refused"].as_u64() >= Some(refused)
                    && row["connections"].as_u64() >= Some(1)
            };
            Ok(rows.iter().any(wanted).then_some(()))
        })
    }
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.spec.namespace, pod.spec.name)
}

/// Of one row: whose it is, and why.
fn expect_row(
    list: &Value,
    client: &Pod,
    security: &str,
    decisive: &str,
    why: [&str; 2],
) -> Result<()> {
    let rows = list.as_array().context("a list")?;
    let row = rows.iter().find(|row| row["client"] == name(client));
    let row = row.with_context(|| format!("no {} in {list}", name(client)))?;
    let [reason, document] = why;
    ensure!(row["security"] == security, "{row}");
    ensure!(row[decisive]["reason"] == reason, "{row}");
    ensure!(row[decisive]["decided_by"][0] == document, "{row}");
    Ok(())
}

fn names(list: &Value) -> Vec<&str> {
    let rows = list.as_array().into_iter().flatten();
    rows.filter_map(|row| row["client"].as_str()).collect()
}

/// STRICT would cut who comes in plaintext, live or lately, and does; an authorization policy cuts by name; what is
/// refused now would be allowed again. A candidate that is wrong is named with its line.
pub fn diff(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting {
        shop: stage.shop("PERMISSIVE")?,
        scratch: stage.world.scratch("candidates")?,
    };
    let shop = &setting.shop;
    let _nginx = shop.nginx()?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    shop.get(&shop.stranger)?.expect_ok(GREETING)?;
    setting.seen(&shop.customer, "mutual_tls", 0)?;
    setting.seen(&shop.stranger, "plaintext", 0)?;
    before(&setting)?;
    errors(&setting)?;

    shop.set_mode("STRICT")?;
    shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    setting.seen(&shop.stranger, "plaintext", 1)?;
    let (open, code) = setting.diff(&STRICT.replace("STRICT", "PERMISSIVE"), &[])?;
    ensure!(names(&open["cut"]).is_empty() && code == Some(0), "{open}");
    let refused = ["plaintext_in_strict", PEER];
    expect_row(
        &open["allowed"],
        &shop.stranger,
        "plaintext",
        "before",
        refused,
    )?;
    offline(&setting)
}

fn before(setting: &Setting<'_>) -> Result<()> {
    let shop = &setting.shop;
    let (strict, code) = setting.diff(STRICT, &[])?;
    ensure!(code == Some(1), "{strict}");
    ensure!(names(&strict["cut"]) == [name(&shop.stranger)], "{strict}");
    let refused = ["plaintext_in_strict", PEER];
    expect_row(
        &strict["cut"],
        &shop.stranger,
        "plaintext",
        "after",
        refused,
    )?;
    ensure!(strict["window_seconds"] == 600, "{strict}");
    let sentence = format!(
        "STRICT in namespace shop ({PEER}) would cut 1 flow from 1 workload ({})",
        name(&shop.stranger)
    );
    let table = setting.run(STRICT, &[])?;
    ensure!(table.stdout.contains(&sentence), "{}", table.describe());
    authorization(setting)?;
    live(setting)
}

fn authorization(setting: &Setting<'_>) -> Result<()> {
    let shop = &setting.shop;
    let (denied, code) = setting.diff(DENY, &[])?;
    ensure!(names(&denied["cut"]) == [name(&shop.customer)], "{denied}");
    let by = [
        "authorization_denied",
        "AuthorizationPolicy/shop/no-customers",
    ];
    expect_row(&denied["cut"], &shop.customer, "mutual_tls", "after", by)?;
    ensure!(code == Some(1), "{denied}");
    let dry_run = DENY.replace(
        "spec:",
        "  annotations: {istio.io/dry-run: \"true\"}\nspec:",
    );
    let (nothing, code) = setting.diff(&dry_run, &[])?;
    ensure!(
        names(&nothing["cut"]).is_empty() && code == Some(0),
        "{nothing}"
    );
    let (alone, _) = setting.diff(ALLOW, &[])?;
    let by = [
        "authorization_not_allowed",
        "AuthorizationPolicy/shop/allowed-clients",
    ];
    expect_row(&alone["cut"], &shop.stranger, "plaintext", "after", by)?;
    Ok(())
}

/// A connection that is open counts as seen now, and is cut as was said.
fn live(setting: &Setting<'_>) -> Result<()> {
    let shop = &setting.shop;
    let listener = shop.web.listen(PORT)?;
    let mut pair = Pair::open(&shop.stranger, shop.web_address(PORT), &listener)?;
    pair.talk()?;
    let (strict, _) = setting.diff(STRICT, &["--last", "1s"])?;
    let rows = strict["cut"].as_array().context("a list")?;
    let open = rows.iter().find(|row| row["port"] == PORT);
    ensure!(open.is_some_and(|row| row["open"] == 1), "{strict}");
    pair.talk().context("asking changes nothing")?;
    shop.set_mode("STRICT")?;
    pair::expect_over(&mut pair.client)?;
    shop.set_mode("PERMISSIVE")
}

fn errors(setting: &Setting<'_>) -> Result<()> {
    let wrong = setting.run(&STRICT.replace("mode: STRICT", "mode: STRICTLY"), &[])?;
    ensure!(wrong.code() == Some(2), "{}", wrong.describe());
    let place = "candidate.yaml:9: document 1: spec.mtls.mode";
    ensure!(wrong.stderr.contains(place), "{}", wrong.describe());
    let none = setting.agent().operator(&["policy", "diff"])?;
    ensure!(none.code() == Some(2), "{}", none.describe());
    Ok(())
}

/// A directory answers as the agent does, from the flows that the agent has printed, or from what is possible.
fn offline(setting: &Setting<'_>) -> Result<()> {
    let shop = &setting.shop;
    let flows = setting.agent().json("flows")?.to_string();
    let flows = setting.file("flows.json", &flows)?;
    let source = &shop.world().node(NodeName::B).source;
    let source = source.to_string_lossy();
    let from = ["--from", &*source];
    let (seen, code) = setting.diff(DENY, &[&from[..], &["--flows", &flows]].concat())?;
    ensure!(names(&seen["cut"]) == [name(&shop.customer)], "{seen}");
    ensure!(code == Some(1), "{seen}");
    let (possible, _) = setting.diff(DENY, &from)?;
    ensure!(
        names(&possible["cut"]).contains(&&*name(&shop.customer)),
        "{possible}"
    );
    ensure!(possible["window_seconds"].is_null(), "{possible}");
    Ok(())
}
