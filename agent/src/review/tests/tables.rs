//! Tables of documents: what they say of connections, and what is said of those in which something is wrong.

use std::{fs, path::Path};

use super::*;
use crate::control::{LoadErrors, Loaded};

/// Title, document, and the lines that say what is expected.
fn cases(table: &str) -> impl Iterator<Item = (&str, String, Vec<&str>)> {
    let cases = table.split("\n=== ").skip(1);
    cases.map(|case| {
        let (title, rest) = case.split_once('\n').unwrap();
        let expected = rest.lines().filter_map(|line| line.strip_prefix(">>> "));
        let documents = rest.lines().filter(|line| !line.starts_with(">>> "));
        let text: String = documents.map(|line| format!("{line}\n")).collect();
        (title, text, expected.collect())
    })
}

fn load(dir: &Path) -> Result<Loaded, LoadErrors> {
    let settings = Settings::from(MeshConfig {
        trust_domain: "cluster.local".parse().unwrap(),
        trust_domain_aliases: Vec::new(),
        cluster_domain: "cluster.local".to_owned(),
        root_namespace: "istio-system".to_owned(),
    });
    control::load(dir, &settings.of_dump())
}

#[test]
fn verdicts_are_those_of_istios_documentation() {
    let own = (include_str!("tables.yaml"), include_str!("verdicts.txt"));
    let further = (
        include_str!("documentation.yaml"),
        include_str!("documentation.txt"),
    );
    for (mesh, table) in [own, further] {
        let wrong = disagreements(mesh, table);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// With what is said of the connections instead.
fn disagreements(mesh: &str, table: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mesh.yaml"), mesh).unwrap();
    let mut wrong = Vec::new();
    for (title, text, expected) in cases(table) {
        fs::write(dir.path().join("policy.yaml"), text).unwrap();
        let loaded = load(dir.path()).unwrap_or_else(|errors| panic!("{title}: {errors}"));
        let snapshot = loaded.mesh.into_snapshot();
        assert!(!expected.is_empty(), "{title}");
        for line in expected {
            let words: Vec<_> = line.split(' ').collect();
            let explained = explain(&snapshot, words[0], words[1])
                .unwrap_or_else(|error| panic!("{title}: {line}: {error}"));
            let told = serde_json::to_value(&explained).unwrap();
            let found = [&told["verdict"], &told["transport"]];
            let decides = |by: &&str| explained.decided_by.iter().any(|d| d == by);
            if found != [words[2], words[3]] || !words.get(4).is_none_or(decides) {
                wrong.push(format!("{title}: {line}: {told:#}"));
            }
        }
    }
    wrong
}

#[test]
fn documents_are_accepted_as_they_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    for (title, text, expected) in cases(include_str!("reference.txt")) {
        let (documents, warnings) = expected[0].split_once(' ').unwrap();
        for ending in ["\n", "\r\n"] {
            let copied = text.replace('\n', ending);
            for copied in [copied.replace("  ", "\u{a0} "), copied] {
                fs::write(dir.path().join("copied.yaml"), &copied).unwrap();
                let loaded = load(dir.path()).unwrap_or_else(|errors| panic!("{title}: {errors}"));
                assert_eq!(loaded.documents.to_string(), documents, "{title}");
                let odd = usize::from(copied.contains('\u{a0}'));
                let found = (loaded.warnings.len() - odd).to_string();
                let same = warnings == "-" || warnings == found;
                assert!(same, "{title}: {:#?}", loaded.warnings);
            }
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broken.yaml");
    let mut wrong = Vec::new();
    for (title, text, expected) in cases(include_str!("broken.txt")) {
        for ending in ["\n", "\r\n"] {
            fs::write(&file, text.replace('\n', ending)).unwrap();
            let errors = load(dir.path()).err();
            let errors = errors.iter().flat_map(LoadErrors::iter);
            let errors: Vec<_> = errors.map(ToString::to_string).collect();
            let begins = |(error, expected): (&String, &&str)| {
                error.starts_with(&format!("broken.yaml:{expected}"))
            };
            let same = errors.iter().zip(&expected).all(begins);
            if errors.len() != expected.len() || !same {
                wrong.push(format!("{title}: {errors:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line_and_marks_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.yaml");
    let good = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\n";
    for text in [
        String::new(),
        "---\n".to_owned(),
        "# nothing\n\n# at all\n".to_owned(),
        format!("\u{feff}{good}"),
        good.replace('\n', "\r\n"),
        format!("{good}# {}\n", "long ".repeat(100_000)),
        format!("---\n---\n{good}---\n"),
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}".to_owned(),
        good.replace("{name: x}", "&m {name: x, labels: {a: &v b, c: *v}}"),
    ] {
        fs::write(&file, &text).unwrap();
        assert!(load(dir.path()).is_ok(), "{text:.200}");
    }
    fs::write(&file, [good.as_bytes(), b"# \xff\n"].concat()).unwrap();
    let errors = load(dir.path()).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["a.yaml:4: document 1: not UTF-8"]);
}
