//! Runs other programs and finds them. Does not decide which.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// Where servers and `ip` are on distributions that keep them out of an ordinary user's PATH.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Runs `command` to its end with our stdout and stderr.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    ensure!(status.success(), "{}: {status}", shown(command));
    Ok(())
}

/// Like [`run`], but an unsuccessful end is a result, not an error.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| shown(command))
}

/// What `command` writes to stdout, trimmed. Its stderr is part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| shown(command))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", shown(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs `command`, passes its stdout on and shows each line to `look`.
#[expect(clippy::print_stdout, reason = "what the command prints is the result")]
pub fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| shown(command))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| shown(command))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            look(&line);
        }
    }
    child.wait().with_context(|| shown(command))
}

/// The command as one could type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The program called `name`, in PATH or in the system's directories.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// Whether we run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// PATH with `first` before everything else.
pub fn path_with(first: &[&Path]) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let first = first.iter().map(|directory| directory.to_path_buf());
    env::join_paths(first.chain(env::split_paths(&path))).context("PATH")
}

/// The cargo that runs us: of the same toolchain as the rest of the build.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The compiler of that toolchain.
pub fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Takes away what cargo and rustup have set for us, for a build by another toolchain: it must not
/// inherit this one's compiler, wrapper, flags, profile or target directory.
pub fn without_cargo(command: &mut Command) -> &mut Command {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    const TAKEN: [&str; 9] = [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
        // `cargo run` puts its own toolchain's libraries there, another LLVM among them.
        "LD_LIBRARY_PATH",
    ];
    for (name, _) in env::vars_os() {
        let cargo = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept))
        });
        if cargo || TAKEN.iter().any(|taken| name == *taken) {
            command.env_remove(&name);
        }
    }
    command
}
