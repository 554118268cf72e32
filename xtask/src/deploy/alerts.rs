//! The alert rules: promtool finds them well formed and each fires when it should (alerts-test.yaml).

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result};

use super::{Rendered, directory};
use crate::process;

pub(super) fn findings(_: &Rendered) -> Result<Vec<String>> {
    let files = directory().join("chart/files");
    let mut findings = Vec::new();
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts-test.yaml"],
    ] {
        let mut promtool = Command::new("promtool");
        promtool.args(arguments).current_dir(&files);
        if let Err(error) = process::output(&mut promtool) {
            findings.push(format!("{error:#}"));
        }
    }
    let read = |name: &str| {
        let path = files.join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let (rules, tests) = (read("alerts.yaml")?, read("alerts-test.yaml")?);
    let untested = names(&rules, "- alert:")
        .difference(&names(&tests, "alertname:"))
        .map(|name| format!("alerts-test.yaml has no test of {name}"))
        .collect::<Vec<_>>();
    findings.extend(untested);
    Ok(findings)
}

fn names(text: &str, key: &str) -> BTreeSet<String> {
    let values = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix(key));
    values.map(|value| value.trim().to_owned()).collect()
}
