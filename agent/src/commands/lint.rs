//! `sealane policy lint`.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::Context;
use serde::Serialize;

use super::print_text;
use crate::{
    cli::{LintArgs, OutputFormat},
    config::MeshConfig,
    control::{self, LoadError, Loaded, Settings},
    policy::Known,
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

impl Finding {
    fn empty(path: &Path) -> Self {
        let reason = "no documents: a directory's *.yaml, *.yml and *.json are read";
        Self {
            file: path.display().to_string(),
            line: 0,
            document: 0,
            field: String::new(),
            reason: reason.to_owned(),
            text: format!("{}: {reason}", path.display()),
        }
    }
}

impl From<&LoadError> for Finding {
    fn from(error: &LoadError) -> Self {
        Self {
            file: error.place.file.to_string(),
            line: error.place.line,
            document: error.place.document,
            field: error.field.to_string(),
            reason: error.reason(),
            text: error.to_string(),
        }
    }
}

/// Reads as the agent would: [`WRONG`] when it would keep its last good state, and when there is nothing to read.
///
/// # Errors
/// When the path can't be read, or the findings can't be written.
pub fn lint(args: &LintArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = Settings::from(MeshConfig::try_from(&args.mesh)?).of_dump();
    let path = &args.path;
    path.metadata()
        .with_context(|| path.display().to_string())?;
    let mut findings = match control::load(path, &settings) {
        Ok(loaded) => found(path, loaded, &settings),
        Err(errors) => Findings {
            documents: 0,
            errors: errors.iter().map(Finding::from).collect(),
            warnings: Vec::new(),
        },
    };
    let unread = control::subdirectories(path).with_context(|| path.display().to_string())?;
    let unread = unread.iter().map(|name| {
        let path = path.join(name);
        format!("{}: directories within are not read", path.display())
    });
    findings.warnings.extend(unread);
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

/// Nothing is wrong, unless there is nothing.
fn found(path: &Path, loaded: Loaded, settings: &Settings) -> Findings {
    let Loaded {
        mesh,
        mut warnings,
        documents,
        ..
    } = loaded;
    let inside = mesh.services.iter().map(std::convert::AsRef::as_ref);
    let services: Vec<_> = inside.chain(&mesh.outside).collect();
    let doubts = mesh.documents.doubts(&Known {
        root_namespace: &settings.root_namespace,
        cluster_domain: &settings.cluster_domain,
        workloads: &mesh.workloads,
        services: &services,
    });
    let domains = settings.trust_domains.all();
    let foreign = mesh.documents.foreign_principals(&domains);
    let absent = mesh.documents.absent_clients(&domains, &mesh.workloads);
    let doubts = foreign.iter().chain(&doubts).chain(&absent);
    warnings.extend(doubts.map(ToString::to_string));
    let warnings = warnings.iter();
    let warnings = warnings.map(|warning| control::one_line(warning).into_owned());
    let is_empty = documents == 0 && mesh.documents.mesh_mode.is_none();
    Findings {
        documents,
        errors: is_empty.then(|| Finding::empty(path)).into_iter().collect(),
        warnings: warnings.collect(),
    }
}

fn shown(findings: &Findings) -> String {
    let errors = findings
        .errors
        .iter()
        .map(|e| format!("error: {}\n", e.text));
    let warnings = findings.warnings.iter().map(|w| format!("warning: {w}\n"));
    let mut text: String = errors.chain(warnings).collect();
    if findings.errors.is_empty() {
        let documents = counted(findings.documents, "document");
        let wrong = match findings.warnings.len() {
            0 => "nothing wrong".to_owned(),
            warnings => format!("no errors, {}", counted(warnings, "warning")),
        };
        text.push_str(&format!("{documents}, {wrong}\n"));
    }
    text
}

fn counted(count: usize, of: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {of}{plural}")
}

#[cfg(test)]
mod tests;
