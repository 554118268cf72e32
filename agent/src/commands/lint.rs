//! `sealane policy lint`.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use serde::Serialize;

use super::print_text;
use crate::{
    cli::{LintArgs, OutputFormat},
    config::MeshConfig,
    control::{self, LoadError, Settings},
};

/// Exit code when something is wrong.
const WRONG: u8 = 1;

/// What was found.
#[derive(Serialize)]
struct Findings {
    documents: usize,
    errors: Vec<Finding>,
    warnings: Vec<String>,
}

/// Something that is wrong.
#[derive(Serialize)]
struct Finding {
    file: String,
    /// Counts from 1; 0: the file as a whole.
    line: usize,
    document: usize,
    field: String,
    reason: String,
    /// All of it, as people read it.
    text: String,
}

impl From<&LoadError> for Finding {
    fn from(error: &LoadError) -> Self {
        Self {
            file: error.place.file.to_string(),
            line: error.place.line,
            document: error.place.document,
            field: error.field.to_string(),
            reason: error.problem.to_string(),
            text: error.to_string(),
        }
    }
}

/// Reads as the agent would: [`WRONG`] when it would keep its last good state.
///
/// # Errors
/// When the path can't be read, or the findings can't be written.
pub fn lint(args: &LintArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = Settings::from(MeshConfig::try_from(&args.mesh)?);
    let path = &args.path;
    path.metadata()
        .with_context(|| path.display().to_string())?;
    let findings = match control::load(path, &settings) {
        Ok(loaded) => Findings {
            documents: loaded.documents,
            errors: Vec::new(),
            warnings: loaded.warnings,
        },
        Err(errors) => Findings {
            documents: 0,
            errors: errors.iter().map(Finding::from).collect(),
            warnings: Vec::new(),
        },
    };
    let text = match args.output {
        OutputFormat::Json => serde_json::to_string_pretty(&findings)?,
        OutputFormat::Table => shown(&findings),
    };
    print_text(text.into_bytes(), out)?;
    Ok(if findings.errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(WRONG)
    })
}

fn shown(findings: &Findings) -> String {
    let errors = findings
        .errors
        .iter()
        .map(|e| format!("error: {}\n", e.text));
    let warnings = findings.warnings.iter().map(|w| format!("warning: {w}\n"));
    let mut text: String = errors.chain(warnings).collect();
    if findings.errors.is_empty() {
        let documents = findings.documents;
        text.push_str(&format!("{documents} documents, nothing wrong\n"));
    }
    text
}
