//! What the manifests say to the program it understands.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    process::Command,
};

use anyhow::Result;
use serde_json::Value;

use super::{Rendered, list, text};
use crate::{process, workspace};

/// Asks the built program for the flags of each command that a container runs.
pub(super) fn findings(rendered: &Rendered) -> Result<Vec<String>> {
    let mut known: BTreeMap<Vec<&str>, String> = BTreeMap::new();
    let mut findings = Vec::new();
    for (name, objects) in &rendered.objects {
        for container in objects.iter().flat_map(containers).filter(|c| is_ours(c)) {
            let words: Vec<_> = list(container, "/args")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let (command, flags) = split(&words);
            let help = match known.entry(command.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(help(&command)?),
            };
            let unknown = flags.iter().filter(|flag| !knows(help, flag));
            findings.extend(
                unknown
                    .map(|flag| format!("{name}: `sealane {}` has no {flag}", command.join(" "))),
            );
        }
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn help(command: &[&str]) -> Result<String> {
    let mut sealane = Command::new(workspace::program("sealane")?);
    process::output(sealane.args(command).arg("--help"))
}

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    [
        "/spec/template/spec/initContainers",
        "/spec/template/spec/containers",
    ]
    .into_iter()
    .flat_map(|field| list(object, field))
}

fn is_ours(container: &Value) -> bool {
    text(container, "/image").contains("sealane")
}

/// The subcommands, and the names of the flags that follow.
fn split<'w>(words: &[&'w str]) -> (Vec<&'w str>, Vec<&'w str>) {
    let is_flag = |word: &&str| word.starts_with("--");
    let (flags, command): (Vec<_>, Vec<_>) = words.iter().copied().partition(is_flag);
    let name = |flag: &'w str| flag.split('=').next().unwrap_or(flag);
    (command, flags.into_iter().map(name).collect())
}

/// A flag stands in its help by itself: not as a part of another's name.
fn knows(help: &str, flag: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    help.split(|c: char| !is_part(c)).any(|word| word == flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_whole() {
        let help = "  --ca-roots <FILE>\n      roots; see --log-level";
        assert!(knows(help, "--ca-roots"));
        assert!(!knows(help, "--ca"));
        let words = ["ca", "serve", "--listen=[::]:1", "--kubernetes"];
        assert_eq!(
            split(&words),
            (vec!["ca", "serve"], vec!["--listen", "--kubernetes"])
        );
    }
}
