//! The compiler for eBPF: which one this machine has, and how it is called.
//!
//! `core` has to be built for BPF, which takes its source and a compiler that allows `-Zbuild-std`;
//! bpf-linker has to read the LLVM bitcode of that same compiler. Installs nothing: `setup` does.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    process::{self, without_cargo},
    workspace,
};

/// A compiler with the source of `core`.
pub struct Compiler {
    pub kind: Kind,
    /// As in `1.96`.
    pub version: (u32, u32),
    /// Major version of its LLVM.
    pub llvm: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's packages rustc-web, cargo-web and rust-web-src in /usr.
    Debian,
    /// rustup's nightly with the component rust-src.
    Nightly,
}

/// A compiler and a linker that fits.
pub struct Toolchain {
    pub compiler: Compiler,
    linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiler {
            kind,
            version: (major, minor),
            llvm,
        } = &self.compiler;
        let name = match kind {
            Kind::Debian => "Debian's rustc",
            Kind::Nightly => "rustup's nightly",
        };
        write!(f, "{name} {major}.{minor}, LLVM {llvm}")
    }
}

impl Kind {
    /// How to get a clippy for this compiler.
    pub fn clippy_hint(self) -> &'static str {
        match self {
            Self::Debian => "apt-get install rust-web-clippy",
            Self::Nightly => "rustup component add clippy --toolchain nightly",
        }
    }

    fn command(self, program: &str) -> Command {
        let mut command = match self {
            Self::Debian => Command::new(Path::new("/usr/bin").join(program)),
            Self::Nightly => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", "nightly", program]);
                rustup
            }
        };
        without_cargo(&mut command);
        command
    }

    fn has_clippy(self) -> bool {
        match self {
            // Asked for its clippy, Debian's cargo would find and run rustup's.
            Self::Debian => Path::new("/usr/bin/cargo-clippy").is_file(),
            Self::Nightly => {
                process::output(self.command("cargo").args(["clippy", "--version"])).is_ok()
            }
        }
    }

    fn compiler(self) -> Option<Compiler> {
        let sysroot = process::output(self.command("rustc").args(["--print", "sysroot"])).ok()?;
        let core = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml");
        let verbose = process::output(self.command("rustc").arg("-vV")).ok()?;
        let field = |name: &str| {
            let line = verbose.lines().find_map(|line| line.strip_prefix(name));
            version(line?)
        };
        let compiler = Compiler {
            kind: self,
            version: field("release: ")?,
            llvm: field("LLVM version: ")?.0,
        };
        let cargo = process::output(self.command("cargo").arg("-V")).is_ok();
        (core.is_file() && cargo && compiler.version >= minimum()).then_some(compiler)
    }
}

impl Compiler {
    /// The first complete one, Debian's before rustup's.
    pub fn detect() -> Option<Self> {
        [Kind::Debian, Kind::Nightly]
            .into_iter()
            .find_map(Kind::compiler)
    }

    /// The installed bpf-linker, unless it was linked against the LLVM of another major version. One
    /// that brings its LLVM along (upstream's binaries) can't be asked and is taken as it is.
    pub fn linker(&self) -> Option<PathBuf> {
        let linker = process::find("bpf-linker").or_else(|| {
            let installed = cargo_home()?.join("bin/bpf-linker");
            installed.is_file().then_some(installed)
        })?;
        let libraries = process::output(Command::new("ldd").arg(&linker)).unwrap_or_default();
        let fits = match libraries.lines().find(|line| line.contains("libLLVM")) {
            Some(llvm) => {
                let expected = [".so.", "-"].map(|mark| format!("libLLVM{mark}{}", self.llvm));
                let found = !llvm.contains("not found");
                found && expected.iter().any(|name| llvm.contains(name.as_str()))
            }
            None => true,
        };
        fits.then_some(linker)
    }
}

impl Toolchain {
    /// What this machine has; `None` when anything is missing.
    pub fn detect() -> Option<Self> {
        let compiler = Compiler::detect()?;
        let linker = compiler.linker()?;
        Some(Self { compiler, linker })
    }

    /// Compiles agent-ebpf in release mode and returns the object's path.
    ///
    /// # Errors
    /// The compiler's own.
    pub fn compile(&self) -> Result<PathBuf> {
        let target = workspace::target()?.join("ebpf");
        process::run(self.cargo("build", &target)?.arg("--release"))?;
        let object = target.join("bpfel-unknown-none/release/sealane-ebpf");
        ensure!(object.is_file(), "{} was not built", object.display());
        Ok(object)
    }

    /// Runs clippy on agent-ebpf; `false` when this toolchain has none.
    ///
    /// # Errors
    /// Clippy's own.
    pub fn clippy(&self) -> Result<bool> {
        if !self.compiler.kind.has_clippy() {
            return Ok(false);
        }
        let target = workspace::target()?.join("ebpf");
        let mut cargo = self.cargo("clippy", &target)?;
        process::run(cargo.args(["--release", "--", "-D", "warnings"]))?;
        Ok(true)
    }

    fn cargo(&self, subcommand: &str, target: &Path) -> Result<Command> {
        let linker = self
            .linker
            .parent()
            .context("bpf-linker has no directory")?;
        let path = match self.compiler.kind {
            Kind::Debian => process::path_with(&[Path::new("/usr/bin"), linker])?,
            Kind::Nightly => process::path_with(&[linker])?,
        };
        let arch = env::consts::ARCH;
        // As aya-build has it: the types of the kernel's registers, and BTF for maps and programs.
        let flags = [
            &format!("--cfg=bpf_target_arch=\"{arch}\""),
            "-Cdebuginfo=2",
            "-Clink-arg=--btf",
        ];
        let mut cargo = self.compiler.kind.command("cargo");
        cargo
            .arg(subcommand)
            .args(["-Zbuild-std=core", "--target", "bpfel-unknown-none"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(workspace::root().join("agent-ebpf"))
            .env("PATH", path)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        Ok(cargo)
    }
}

/// Cargo's home directory, where `cargo install` puts programs.
pub fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// The oldest compiler that the workspace allows.
pub fn minimum() -> (u32, u32) {
    version(env!("CARGO_PKG_RUST_VERSION")).unwrap_or_default()
}

/// Major and minor of a version such as `1.96.0-nightly` or `1.96.0+dfsg1-1~deb12u2`.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split('.');
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next()?.parse().ok()?))
}

/// Whether rustup is there to install a nightly with.
pub fn has_rustup() -> bool {
    process::find("rustup").is_some()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_of_every_origin() {
        assert_eq!(version("1.96.0"), Some((1, 96)));
        assert_eq!(version("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(version("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(version("22.1.8"), Some((22, 1)));
        assert_eq!(version("1.95"), Some((1, 95)));
        assert_eq!(version("unknown"), None);
    }
}
