//! What the host wants: a file in the initramfs of fields `NAME=VALUE`, each ended by a zero byte, written by
//! `cargo xtask vm`. The kernel's command line would be too short and can't quote.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

const FILE: &str = "/job";

/// The command, and where it runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Program and arguments.
    pub command: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
    pub directory: PathBuf,
    /// The directory of this kernel's modules, on the host.
    pub modules: PathBuf,
    /// A directory of the host that the command may write to.
    pub output: Option<PathBuf>,
}

impl Job {
    /// Reads the file.
    pub fn read() -> Result<Self> {
        let bytes = fs::read(Path::new(FILE)).context(FILE)?;
        Self::parse(&bytes).context(FILE)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut job = Self::default();
        for field in bytes.split(|byte| *byte == 0).filter(|f| !f.is_empty()) {
            let (name, value) = halves(field)?;
            match name.to_str() {
                Some("argument") => job.command.push(value),
                Some("environment") => job.environment.push(halves(value.as_encoded_bytes())?),
                Some("directory") => job.directory = value.into(),
                Some("modules") => job.modules = value.into(),
                Some("output") => job.output = Some(value.into()),
                _ => bail!("unknown field {}", name.display()),
            }
        }
        Ok(job)
    }
}

/// What is before and after the first `=`.
fn halves(field: &[u8]) -> Result<(OsString, OsString)> {
    let mut halves = field.splitn(2, |byte| *byte == b'=');
    let mut next = || halves.next().map(|half| OsString::from_vec(half.to_vec()));
    let name = next().unwrap_or_default();
    let value = next().with_context(|| format!("no = in {}", name.display()))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::Job;

    #[test]
    fn fields() -> anyhow::Result<()> {
        let job = Job::parse(
            b"argument=sh\0argument=-c\0argument=echo a=b\nc\0argument=\0environment=X=1=2\0directory=/d\0",
        )?;
        assert_eq!(job.command, ["sh", "-c", "echo a=b\nc", ""]);
        assert_eq!(job.environment, [("X".into(), "1=2".into())]);
        assert_eq!(job.directory.as_os_str(), "/d");
        assert_eq!(job.output, None);
        Ok(())
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Job::parse(b"argument").is_err());
        assert!(Job::parse(b"colour=blue\0").is_err());
    }
}
