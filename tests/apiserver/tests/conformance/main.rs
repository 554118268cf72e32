//! Conformance: what the Kubernetes documentation says of the API, checked black box.
//!
//! `cargo test -p sealane-apiserver --test conformance` checks the server of this crate; with `KUBECONFIG` set, the
//! server of its current context, whatever that is: it needs cluster-admin there, makes namespaces of its own
//! (`conformance-…`) and removes them. What only a server can show that takes orders is skipped then, by name.

mod call;
mod ends;
mod forms;
mod identity;
mod lists;
mod objects;
mod orders;
mod outages;
mod pods;
mod selections;
mod stage;
mod watches;

use std::{pin::Pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Trial};
use stage::{Cluster, Stage};

const LONGEST: Duration = Duration::from_secs(90);

type Future = Pin<Box<dyn std::future::Future<Output = Result<()>> + Send>>;

/// A check of one documented behaviour.
pub struct Check {
    pub name: &'static str,
    /// The behaviour, and where it is documented.
    pub says: &'static str,
    /// Whether the server has to take orders.
    pub needs_orders: bool,
    pub run: fn(Arc<Stage>) -> Future,
}

/// `check!(module::function, "what is documented")`; with `orders` it is only for servers that take them.
macro_rules! check {
    ($module:ident :: $function:ident, $says:literal) => {
        check!($module::$function, $says, false)
    };
    ($module:ident :: $function:ident, orders, $says:literal) => {
        check!($module::$function, $says, true)
    };
    ($module:ident :: $function:ident, $says:literal, $orders:literal) => {
        $crate::Check {
            name: concat!(stringify!($module), "::", stringify!($function)),
            says: $says,
            needs_orders: $orders,
            run: |stage| Box::pin(crate::$module::$function(stage)),
        }
    };
}
pub(crate) use check;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cluster = if arguments.list {
        None
    } else {
        Some(Arc::new(runtime.block_on(Cluster::reach())?))
    };
    let is_ours = cluster.as_ref().is_none_or(|cluster| cluster.is_ours());
    let all = [
        lists::CHECKS,
        selections::CHECKS,
        watches::CHECKS,
        forms::CHECKS,
        objects::CHECKS,
        ends::CHECKS,
        pods::CHECKS,
        identity::CHECKS,
        orders::CHECKS,
        outages::CHECKS,
    ];
    let trials = all.into_iter().flatten().map(|check| {
        let (handle, cluster) = (runtime.handle().clone(), cluster.clone());
        let trial = Trial::test(check.name, move || {
            let cluster = cluster.ok_or("no server")?;
            let played = handle.block_on(play(cluster, check));
            played.map_err(|error| format!("documented: {}\nbut: {error:#}", check.says).into())
        });
        trial.with_ignored_flag(check.needs_orders && !is_ours)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    Ok(conclusion.exit_code())
}

/// Runs a check in a namespace of its own, and removes that.
async fn play(cluster: Arc<Cluster>, check: &Check) -> Result<()> {
    let stage = Arc::new(Stage::set(cluster).await?);
    let played = tokio::time::timeout(LONGEST, (check.run)(Arc::clone(&stage))).await;
    let cleared = stage.clear().await;
    played.context("it took too long")??;
    cleared
}
