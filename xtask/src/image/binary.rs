//! The binary of the image: optimised as a whole, no shared library, no path of this machine in it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{process, workspace};

/// What was built, and by what.
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// As Rust calls the machine it is for.
    pub(super) target: String,
    /// The compiler's version, whose library is linked.
    pub(super) rust: String,
}

impl Program {
    /// As the OCI calls the processor (`GOARCH`).
    pub(super) fn architecture(&self) -> &str {
        match self.target.split('-').next() {
            Some("x86_64") => "amd64",
            Some("aarch64") => "arm64",
            other => other.unwrap_or_default(),
        }
    }
}

/// Builds for this machine, with the profile `image` of Cargo.toml.
pub(super) fn build() -> Result<Program> {
    let (target, rust) = host()?;
    let mut cargo = process::cargo();
    cargo
        .args(["build", "--package", "sealane", "--profile", "image"])
        // Named, so that the flags are not for build scripts and procedural macros: those must stay dynamic.
        .args(["--target", &target])
        .env("CARGO_ENCODED_RUSTFLAGS", flags()?.join("\x1f"))
        .env(
            "CFLAGS",
            prefixes()?
                .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
                .join(" "),
        )
        .env("SEALANE_EBPF_OBJECT", workspace::ebpf_object()?)
        .current_dir(workspace::root());
    process::run(&mut cargo)?;
    let path = workspace::target()?.join(&target).join("image/sealane");
    check(&path)?;
    Ok(Program { path, target, rust })
}

fn host() -> Result<(String, String)> {
    let verbose = process::output(process::rustc().arg("-vV"))?;
    let field = |name: &str| {
        let value = verbose.lines().find_map(|line| line.strip_prefix(name));
        value
            .map(str::to_owned)
            .with_context(|| format!("rustc -vV has no {name}"))
    };
    Ok((field("host: ")?, field("release: ")?))
}

/// glibc's static library does for what the agent needs of it: names are asked of files and DNS without modules that
/// would be loaded at run time (since glibc 2.34).
fn flags() -> Result<Vec<String>> {
    let remap = |(from, to): (String, &str)| format!("--remap-path-prefix={from}={to}");
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(prefixes()?.map(remap));
    Ok(flags)
}

/// Directories that differ from machine to machine, and what stands for them.
fn prefixes() -> Result<[(String, &'static str); 3]> {
    let home = env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let cargo_home = env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    Ok([
        (cargo_home, "/cargo"),
        (shown(workspace::root()), "/sealane"),
        (shown(&workspace::target()?), "/target"),
    ])
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// It runs, and needs no file but itself.
fn check(program: &Path) -> Result<()> {
    let mut readelf = Command::new("readelf");
    let headers = process::output(readelf.arg("--program-headers").arg(program))?;
    ensure!(
        !headers.contains("INTERP"),
        "{} wants a dynamic linker",
        program.display()
    );
    process::output(Command::new(program).arg("--version")).map(drop)
}
