use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn configure(flags: &[&str]) -> Result<AgentConfig, ConfigError> {
    let base = ["sealane", "agent", "--node", "node-a", "--source", "/"];
    let cli = Cli::try_parse_from(base.iter().chain(flags)).unwrap();
    let Command::Agent(args) = cli.command else {
        panic!("agent expected");
    };
    AgentConfig::try_from(args.as_ref())
}

/// The message that the operator sees.
fn complaint(flags: &[&str]) -> String {
    configure(flags).unwrap_err().to_string()
}

#[test]
fn defaults_are_valid() {
    match configure(&[]) {
        Ok(config) => {
            assert_eq!(config.lease, Duration::from_secs(5));
            assert_eq!(config.svid_ttl, Duration::from_secs(86_400));
            assert_eq!(config.detect_timeout, Duration::from_millis(100));
            assert_eq!(config.mesh.trust_domain.as_str(), "cluster.local");
        }
        // Machines that build without a cgroup v2 hierarchy.
        Err(error) => assert!(matches!(error, ConfigError::NoCgroup2), "{error}"),
    }
}

#[test]
fn complaints_name_the_flag_and_the_remedy() {
    let cases: [(&[&str], &str, &str); 14] = [
        (&["--node", "Node_A"], "--node", "DNS name"),
        (&["--node", ""], "--node", "DNS name"),
        (
            &["--source", "/nowhere/at/all"],
            "--source",
            "create the directory",
        ),
        (
            &["--source", "/proc/self/mountinfo"],
            "--source",
            "not a directory",
        ),
        (&["--cgroup-root", "/proc"], "--cgroup-root", "findmnt"),
        (
            &["--cgroup-root", "/nowhere"],
            "--cgroup-root",
            "name a directory",
        ),
        (&["--bpffs", "bpf"], "--bpffs", "leading `/`"),
        (&["--trust-domain", "A B"], "--trust-domain", "lower-case"),
        (&["--admin", "localhost"], "--admin", "127.0.0.1:15020"),
        (
            &["--log-level", "info,x=loud"],
            "--log-level",
            "such as info",
        ),
        (&["--lease", "5"], "--lease", "number with a unit"),
        (&["--svid-ttl", "25h"], "--svid-ttl", "out of range"),
        (&["--key-limit", "3"], "--key-limit", "4 to 262144"),
        (&["--key-limit", "262145"], "--key-limit", "4 to 262144"),
    ];
    let rooted = cgroup::root(None).is_ok();
    for (flags, flag, remedy) in cases {
        let needs_root = matches!(flag, "--node" | "--source" | "--cgroup-root");
        if rooted || needs_root {
            let text = complaint(flags);
            assert!(
                text.contains(flag) && text.contains(remedy),
                "{flags:?}: {text}"
            );
        }
    }
}

#[test]
fn durations_have_bounds_and_no_sign() {
    let parse = |text| duration::parse("--x", text, Duration::ZERO, Duration::from_secs(60));
    assert_eq!(parse("1m").unwrap(), Duration::from_secs(60));
    assert_eq!(parse("1s500ms").unwrap(), Duration::from_millis(1500));
    assert_eq!(parse("0s").unwrap(), Duration::ZERO);
    let days = duration::parse("--x", "90d", Duration::ZERO, Duration::MAX);
    assert_eq!(days.unwrap(), Duration::from_hours(90 * 24));
    for text in ["", "-5s", "61s", "1y", "5", "s"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn socket_paths_fit_into_sun_path() {
    let long = format!("/{}", "x".repeat(SOCKET_PATH_MAX));
    assert!(matches!(
        socket("--socket", Path::new(&long)),
        Err(ConfigError::SocketPath { length: 108, .. })
    ));
    assert!(socket("--socket", Path::new(&long[..SOCKET_PATH_MAX])).is_ok());
}
