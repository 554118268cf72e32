//! `sealane-apiserver`: the test API server as a program, so that `kubectl` and agents in processes of their own can use it.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{ArgAction, Parser};
use sealane_apiserver::{Config, Order, Population, Server};

/// A small Kubernetes API server for tests. It keeps everything in memory and runs no controllers.
#[derive(Parser)]
#[command(name = "sealane-apiserver", version)]
struct Args {
    /// Where the API is served, with TLS
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where faults are ordered (plain HTTP, nobody is asked who they are): GET / shows numbers, POST / takes an order
    /// such as {"breakWatches": {"how": "expired"}}, {"away": {"millis": 5000}}, "forgetHistory" or {"fault": {"verb":
    /// "list", "times": 3, "effect": {"status": {"code": 429, "retryAfter": 1}}}}
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// A kubeconfig is written here, for a member of system:masters
    #[arg(long)]
    kubeconfig_out: PathBuf,
    /// NAMESPACE/NAME=FILE: a kubeconfig is written here, for this service account
    #[arg(long = "account")]
    accounts: Vec<String>,
    /// One more name or address in the server's certificate
    #[arg(long = "name")]
    names: Vec<String>,
    /// Changes that are remembered of each resource
    #[arg(long, default_value_t = 10_000)]
    history: usize,
    /// Seconds between bookmarks
    #[arg(long, default_value_t = 60)]
    bookmarks: u64,
    /// Refuse sendInitialEvents with 422, as servers without streaming lists do
    #[arg(long, action = ArgAction::SetFalse)]
    no_streaming_lists: bool,
    /// Refuse requests without credentials with 401
    #[arg(long, action = ArgAction::SetFalse)]
    no_anonymous: bool,
    /// Pods that are deleted vanish after so many milliseconds, as if a kubelet had ended them
    #[arg(long)]
    kubelet: Option<u64>,
    /// Define Istio's custom resources
    #[arg(long)]
    istio: bool,
    /// The issuer of service accounts' tokens
    #[arg(long, default_value = "https://kubernetes.default.svc.cluster.local")]
    issuer: String,
    /// Nodes that are made at the start
    #[arg(long, default_value_t = 0)]
    nodes: u32,
    /// Running pods that are made at the start, about 8 KiB each
    #[arg(long, default_value_t = 0)]
    pods: u32,
    /// Namespaces over which these pods are spread
    #[arg(long, default_value_t = 20)]
    namespaces: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let config = Config {
        listen: args.listen,
        admin: args.admin,
        names: args.names,
        history: args.history,
        bookmarks: Duration::from_secs(args.bookmarks.max(1)),
        streaming_lists: args.no_streaming_lists,
        anonymous: args.no_anonymous,
        issuer: args.issuer,
        kubelet: args.kubelet.map(Duration::from_millis),
        istio: args.istio,
        ..Config::default()
    };
    let server = Server::start(config).await?;
    if args.pods > 0 || args.nodes > 0 {
        let Args {
            nodes,
            pods,
            namespaces,
            ..
        } = args;
        server
            .order(Order::Populate(Population {
                nodes,
                first: 0,
                pods,
                namespaces,
            }))
            .await?;
    }
    for account in &args.accounts {
        let (name, file) = account.split_once('=').context("--account")?;
        let (namespace, name) = name.split_once('/').context("--account")?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let group = format!("system:serviceaccounts:{namespace}");
        let groups = ["system:serviceaccounts", &group, "system:authenticated"];
        write(Path::new(file), &server.kubeconfig(&user, &groups)?)?;
    }
    // The last: who waits for it may go on.
    let kubeconfig = server.kubeconfig("admin", &["system:masters"])?;
    write(&args.kubeconfig_out, &kubeconfig)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "serving https://{}", server.address())?;
    if let Some(admin) = server.admin() {
        writeln!(out, "orders at http://{admin}")?;
    }
    drop(out);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn write(file: &Path, kubeconfig: &str) -> Result<()> {
    fs::write(file, kubeconfig).with_context(|| format!("writing {}", file.display()))
}
