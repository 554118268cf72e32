//! `sealane preflight`: what this node has of what an agent needs. Mends nothing.

mod mounts;
mod pods;
mod rights;
mod tried;

use std::{io::Write, process::ExitCode};

use serde::Serialize;

use super::{print_text, table};
use crate::cli::{OutputFormat, PreflightArgs};

/// Exit code when something that an agent needs is missing.
const MISSING: u8 = 1;

/// What was found on this node.
#[derive(Serialize)]
struct Findings {
    /// Whether an agent would work here.
    ready: bool,
    kernel: String,
    checks: Vec<Check>,
}

/// One thing, and whether it is there.
#[derive(Serialize)]
struct Check {
    name: String,
    status: Status,
    /// Whether an agent works without it.
    needed: bool,
    /// What was found, or why it is missing.
    detail: String,
    /// What it is for.
    purpose: &'static str,
    /// What works without it, and what doesn't.
    without: &'static str,
    /// What to do about it; empty where it is there.
    remedy: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Missing,
}

/// What is the same of a thing whether it is there or not.
#[derive(Clone, Copy)]
struct Subject {
    needed: bool,
    purpose: &'static str,
    without: &'static str,
    remedy: &'static str,
}

impl Subject {
    /// `outcome`: what was found, or why it is missing.
    fn check(self, name: impl Into<String>, outcome: Result<String, String>) -> Check {
        let (status, detail, remedy) = match outcome {
            Ok(detail) => (Status::Ok, detail, ""),
            Err(why) => (Status::Missing, why, self.remedy),
        };
        Check {
            name: name.into(),
            status,
            needed: self.needed,
            detail,
            purpose: self.purpose,
            without: self.without,
            remedy,
        }
    }
}

/// `sealane preflight`: [`MISSING`] when an agent would not work here.
///
/// # Errors
/// When the answer can't be written.
pub fn preflight(args: &PreflightArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let findings = Findings::new(look(args));
    let text = match args.output {
        OutputFormat::Table => findings.table(),
        OutputFormat::Json => serde_json::to_string_pretty(&findings)?,
    };
    print_text(text.into_bytes(), out)?;
    Ok(match findings.ready {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(MISSING),
    })
}

fn look(args: &PreflightArgs) -> Vec<Check> {
    let mut checks = rights::checks();
    let (root, mounts) = mounts::checks(args);
    checks.extend(mounts);
    checks.extend(pods::checks(root.as_deref(), args.kubernetes));
    checks.extend(tried::capture(root.as_deref()));
    checks.push(tried::kubelet());
    checks.extend(tried::kernel_tls());
    checks
}

impl Findings {
    fn new(checks: Vec<Check>) -> Self {
        let stops = |check: &Check| check.needed && check.status == Status::Missing;
        let uname = rustix::system::uname();
        Self {
            ready: !checks.iter().any(stops),
            kernel: format!(
                "{} {}",
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            ),
            checks,
        }
    }

    /// One line for each thing, then what is missing at length.
    fn table(&self) -> String {
        let rows = self.checks.iter().map(|check| {
            let status = match (check.status, check.needed) {
                (Status::Ok, _) => "ok",
                (Status::Missing, true) => "MISSING",
                (Status::Missing, false) => "missing",
            };
            vec![check.name.clone(), status.to_owned(), check.detail.clone()]
        });
        let mut text = format!("kernel {}\n\n", self.kernel);
        text.push_str(&table::render(&["CHECK", "STATUS", "FOUND"], rows));
        let missing = self.checks.iter().filter(|c| c.status == Status::Missing);
        for check in missing {
            text.push_str(&check.at_length());
        }
        text.push_str(match self.ready {
            true => "\n\nAn agent works here.\n",
            false => "\n\nAn agent does not work here.\n",
        });
        text
    }
}

impl Check {
    fn at_length(&self) -> String {
        let Self {
            name,
            purpose,
            without,
            remedy,
            ..
        } = self;
        format!("\n\n{name}: {purpose}\n  without: {without}\n  remedy: {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject = Subject {
        needed: true,
        purpose: "to see",
        without: "nothing is seen",
        remedy: "open your eyes",
    };

    fn findings(subject: Subject, outcome: Result<String, String>) -> Findings {
        Findings::new(vec![subject.check("light", outcome)])
    }

    #[test]
    fn only_what_is_needed_stops_an_agent() {
        let absent = || Err("it is dark".to_owned());
        let useful = Subject {
            needed: false,
            ..SUBJECT
        };
        assert!(findings(SUBJECT, Ok("bright".to_owned())).ready);
        assert!(!findings(SUBJECT, absent()).ready);
        assert!(findings(useful, absent()).ready);
    }

    #[test]
    fn what_is_missing_comes_with_its_remedy() {
        let text = findings(SUBJECT, Err("it is dark".to_owned())).table();
        for part in ["MISSING", "it is dark", "open your eyes", "does not work"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let text = findings(SUBJECT, Ok("bright".to_owned())).table();
        assert!(!text.contains("open your eyes"), "{text}");
    }

    #[test]
    fn json_says_what_tables_say() {
        let findings = findings(SUBJECT, Err("it is dark".to_owned()));
        let json = serde_json::to_value(&findings).unwrap();
        assert_eq!(json["ready"], false);
        assert_eq!(json["checks"][0]["status"], "missing");
        assert_eq!(json["checks"][0]["without"], "nothing is seen");
    }
}
