//! `sealane cleanup`: removes what an agent left pinned.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;

use crate::{capture, cli::CleanupArgs};

/// Detaches the programs and frees the maps below `--bpffs`.
///
/// # Errors
/// When the directory can't be removed.
pub fn cleanup(args: &CleanupArgs) -> anyhow::Result<ExitCode> {
    let removed = capture::cleanup(&args.bpffs)
        .with_context(|| format!("removing {}", args.bpffs.display()))?;
    let text = if removed { "removed" } else { "nothing there" };
    writeln!(io::stdout(), "{}: {text}", args.bpffs.display()).context("writing to stdout")?;
    Ok(ExitCode::SUCCESS)
}
