//! `sealane policy lint`.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::Context;
use serde::Serialize;

use super::print_text;
use crate::{
    cli::{LintArgs, OutputFormat},
    config::MeshConfig,
    control::{self, LoadError, Loaded, Settings},
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
            reason: error.problem.to_string(),
            text: error.to_string(),
        }
    }
}

/// Reads as the agent would: [`WRONG`] when it would keep its last good state, and when there is nothing to read.
///
/// # Errors
/// When the path can't be read, or the findings can't be written.
pub fn lint(args: &LintArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = Settings::from(MeshConfig::try_from(&args.mesh)?);
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
    if !mesh.workloads.is_empty() {
        let root = &settings.root_namespace;
        let unused = mesh.documents.selecting_nobody(root, &mesh.workloads);
        warnings.extend(unused.iter().map(ToString::to_string));
    }
    let is_empty = documents == 0 && mesh.documents.mesh_mode.is_none();
    Findings {
        documents,
        errors: is_empty.then(|| Finding::empty(path)).into_iter().collect(),
        warnings,
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
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, PolicyCommand};

    fn linted(path: &Path) -> (String, bool) {
        let path = path.display().to_string();
        let cli = Cli::try_parse_from(["sealane", "policy", "lint", &path]).unwrap();
        let Command::Policy(PolicyCommand::Lint(args)) = cli.command else {
            panic!("another command");
        };
        let mut out = Vec::new();
        let code = lint(&args, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        (text.replace(&path, "DIR"), code == ExitCode::SUCCESS)
    }

    #[test]
    fn what_is_probably_not_meant_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (text, good) = linted(dir.path());
        assert!(
            text.starts_with("error: DIR: no documents") && !good,
            "{text}"
        );
        fs::create_dir(dir.path().join("more")).unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n\
                      spec:\n  selector: {matchLabels: {app: a}}\n  rules:\n  - from:\n    - source:\n        \
                      principals: [spiffe://cluster.local/ns/shop/sa/a, \"cluster.local/ns/${NS}/sa/a\"]\n";
        fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: shop}\n\
                    spec: {host: nobody, trafficPolicy: {tls: {mode: DISABLE}}}\n";
        fs::write(dir.path().join("rule.yaml"), rule).unwrap();
        let alone = "warning: AuthorizationPolicy/shop/p: the principal \"spiffe://cluster.local/ns/shop/sa/a\" matches nobody: principals are written without `spiffe://`\n\
                     warning: AuthorizationPolicy/shop/p: the principal \"cluster.local/ns/${NS}/sa/a\" matches nobody: no identity has such characters; is it a placeholder?\n";
        let unread = "warning: DIR/more: directories within are not read\n";
        assert_eq!(
            linted(dir.path()),
            (
                format!("{alone}{unread}2 documents, no errors, 3 warnings\n"),
                true
            )
        );
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, status: {podIP: 10.0.0.1}}\n";
        fs::write(dir.path().join("pod.yaml"), pod).unwrap();
        let host = "warning: DestinationRule/shop/r is for nobody.shop.svc.cluster.local, which no service and no ServiceEntry has\n";
        let selector = "warning: AuthorizationPolicy/shop/p: its selector matches no pod of the namespace shop\n";
        assert_eq!(
            linted(dir.path()).0,
            format!("{alone}{host}{selector}{unread}3 documents, no errors, 5 warnings\n")
        );
    }
}
