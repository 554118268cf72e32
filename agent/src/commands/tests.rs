use std::{path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;

use clap::Parser;

use super::{ask::AskError, *};
use crate::{
    admin::{AdminSocket, Inspect, api, tests::Stub},
    cli::{Cli, Command, DiffArgs, PolicyCommand},
    config::window,
    review::Diff,
};

/// A tmp directory with a socket on which an agent answers.
fn agent(dir: &Path, ready: bool) -> (QueryArgs, CancellationToken) {
    let socket = dir.join("agent.sock");
    let stop = CancellationToken::new();
    let listening = AdminSocket::bind(&socket).unwrap();
    tokio::spawn(listening.serve(Arc::new(Stub::new(ready)), stop.clone()));
    (
        QueryArgs {
            socket,
            output: OutputFormat::Json,
        },
        stop,
    )
}

#[tokio::test]
async fn exit_codes_follow_readiness() {
    for (ready, code) in [
        (true, ExitCode::SUCCESS),
        (false, ExitCode::from(NOT_READY)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (args, _stop) = agent(dir.path(), ready);
        let mut out = Vec::new();
        assert_eq!(status(&args, &mut out).await.unwrap(), code);
        let told: api::Status = serde_json::from_slice(&out).unwrap();
        assert_eq!(told.ready, ready);
        assert!(out.ends_with(b"}\n"));
    }
}

#[tokio::test]
async fn tables_are_printed_unless_json_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut args, _stop) = agent(dir.path(), true);
    args.output = OutputFormat::Table;
    let mut out = Vec::new();
    let mut certs_args = CertsArgs {
        pem: false,
        query: args,
    };
    certs(&certs_args, &mut out).await.unwrap();
    assert!(out.starts_with(b"IDENTITY"));
    out.clear();
    certs_args.pem = true;
    certs(&certs_args, &mut out).await.unwrap();
    assert!(out.is_empty(), "nobody has a certificate");
    let args = certs_args.query;
    assert_eq!(
        connections(&args, &mut out).await.unwrap(),
        ExitCode::SUCCESS
    );
    assert!(out.starts_with(b"ID "));
}

/// `sealane policy diff` with these arguments.
fn diff_args(arguments: &[&str]) -> DiffArgs {
    let words = ["sealane", "policy", "diff"].iter().chain(arguments);
    match Cli::parse_from(words).command {
        Command::Policy(PolicyCommand::Diff(args)) => args,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn candidates_reach_the_agent_unless_they_are_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (args, _stop) = agent(dir.path(), true);
    let socket = args.socket.to_str().unwrap();
    let file = dir.path().join("strict.yaml");
    let file_name = file.to_str().unwrap();
    let written =
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\n";
    let args = diff_args(&["-f", file_name, "--socket", socket, "-o", "json"]);
    std::fs::write(&file, written).unwrap();
    let mut out = Vec::new();
    assert_eq!(diff(&args, &mut out).await.unwrap(), ExitCode::SUCCESS);
    let told: Diff = serde_json::from_slice(&out).unwrap();
    assert_eq!(told, Diff::default());
    std::fs::write(&file, format!("{written}spec: {{mode: STRICT}}\n")).unwrap();
    let error = diff(&args, &mut out).await.unwrap_err().to_string();
    assert!(error.contains("strict.yaml:4: document 1: spec"), "{error}");
    std::fs::write(&file, "# nothing\n---\n").unwrap();
    let error = diff(&args, &mut out).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the candidate has no documents"),
        "{error}"
    );
    std::fs::remove_file(&file).unwrap();
    let error = diff(&args, &mut out).await.unwrap_err().to_string();
    assert!(error.contains(file_name), "{error}");
    let error = window("10 years").unwrap_err().to_string();
    assert!(error.starts_with("--last"), "{error}");
}

#[test]
fn a_candidate_must_be_named_and_flows_need_a_directory() {
    for arguments in [&[][..], &["-f", "a", "--flows", "b"]] {
        let words = ["sealane", "policy", "diff"].iter().chain(arguments);
        assert!(Cli::try_parse_from(words).is_err(), "{arguments:?}");
    }
    let args = diff_args(&["dir", "--from", "x", "--flows", "a", "--flows", "b"]);
    assert_eq!((args.flows.len(), args.last.as_str()), (2, "10m"));
}

#[tokio::test]
async fn answers_arrive_as_they_were_given() {
    let dir = tempfile::tempdir().unwrap();
    let (args, _stop) = agent(dir.path(), true);
    let answer = ask(&args.socket, "/v1/connections").await.unwrap();
    let list: Vec<api::Connection> = answer.parse().unwrap();
    assert_eq!(list, Stub::new(true).connections());
    let missing = ask(&args.socket, "/v1/nothing").await.err().unwrap();
    assert!(matches!(missing, AskError::Status { .. }));
}

#[tokio::test]
async fn without_an_agent_the_remedy_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let absent = ask(&socket, "/v1/status").await.err().unwrap().to_string();
    assert!(
        absent.contains("no agent at") && absent.contains("--socket"),
        "{absent}"
    );
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let stale = ask(&socket, "/v1/status").await.err().unwrap();
    assert!(matches!(stale, AskError::NoAgent { .. }));
}

#[test]
fn status_tells_errors_and_modes() {
    let text = status::table(&Stub::new(false).status());
    for part in [
        "Ready:        no\n",
        "Up:           1h 2m\n",
        "  no policy was loaded\n",
        "  pods.yaml:3: spec.mtls.mode: unknown variant\n",
        "8443=DISABLE",
        "8080,9090",
        "kubelet.service",
        "PeerAuthentication/shop/default",
        "10.0.0.1,fd00::1",
        "  blog: closed: connections to its workloads are refused: spec\n",
        "  shop/lost since 1970-01-01",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn tables_are_plain_columns_when_nobody_looks() {
    let stub = Stub::new(true);
    let text = connections::table(&stub.connections());
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("ID"), "{text}");
    let row = lines.next().unwrap();
    assert!(
        row.contains("[fd00::1]:80") && row.contains("2.0KiB") && row.contains("10B"),
        "{row}"
    );
    assert!(lines.next().is_none() && !text.contains(['│', '─']));
    assert!(certs::table(&stub.certificates()).contains("the CA is away"));
    assert!(certs::table(&[]).contains("no certificate"));
}

#[test]
fn times_and_sizes_are_short() {
    use jiff::{SignedDuration, Timestamp};
    let hours = |h| SignedDuration::from_hours(h);
    assert_eq!(table::duration(hours(30)), "1d 6h");
    assert_eq!(table::duration(SignedDuration::from_secs(61)), "1m 1s");
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(table::relative(now + hours(2), now), "in 2h 0m");
    assert_eq!(table::relative(now - hours(2), now), "2h 0m ago");
    assert_eq!(table::bytes(1023), "1023B");
    assert_eq!(table::bytes(u64::MAX), "16384.0PiB");
}
