//! Policy documents that are not in force: what somebody thinks of applying. Read as the source reads its own.

use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    build::Settings,
    error::LoadErrors,
    file::texts,
    objects::{Collector, SWITCH},
};
use crate::policy::{Documents, Policy, ServiceEntry};

/// A file, on its way to whoever is to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    pub name: String,
    pub text: String,
}

/// Policy documents that make sense each for itself.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    pub documents: Documents,
    /// Such as that a document had better be written in another way.
    pub warnings: Vec<String>,
    /// Nothing at all was said: probably not what was meant.
    pub is_empty: bool,
}

impl Candidate {
    /// A file, or the `*.yaml`, `*.yml` and `*.json` of a directory.
    ///
    /// # Errors
    /// Everything that can't be read as text.
    pub fn texts(path: &Path) -> Result<Vec<SourceText>, LoadErrors> {
        let files = texts(path)?.into_iter();
        let text = |(name, mut text): (String, Zeroizing<String>)| SourceText {
            name,
            text: std::mem::take(&mut *text),
        };
        Ok(files.map(text).collect())
    }

    /// Reads files as one set. Objects that are not policy are checked, and left out.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(files: &[SourceText]) -> Result<Self, LoadErrors> {
        let mut collector = Collector::default();
        for SourceText { name, text } in files {
            if name == SWITCH {
                collector.switch_file(text);
            } else {
                collector.file(name, text);
            }
        }
        if let Some(errors) = LoadErrors::new(collector.errors) {
            return Err(errors);
        }
        let objects = collector.objects;
        let others = objects.namespaces.len()
            + objects.pods.len()
            + objects.services.len()
            + objects.endpoint_slices.len()
            // ConfigMaps without the label among them.
            + objects.count.skipped;
        let mut warnings = objects.warnings;
        if others > 0 {
            warnings.push(format!(
                "{others} of the candidate's objects are not policy and are left out"
            ));
        }
        let documents = objects.documents;
        let entries = documents.service_entries.len();
        if entries > 0 {
            warnings.push(format!(
                "{entries} of the candidate's documents are ServiceEntries, which are not tried: hosts stay where they are"
            ));
        }
        Ok(Self {
            is_empty: objects.count.documents == 0 && documents.mesh_mode.is_none(),
            documents,
            warnings,
        })
    }

    /// Hosts of which nobody knows yet where they will be.
    #[must_use]
    pub fn untried(&self) -> Vec<String> {
        let entries = self.documents.service_entries.iter();
        let hosts = entries.flat_map(ServiceEntry::hosts);
        hosts.map(str::to_owned).collect()
    }

    /// Policy with the candidate applied over `present`, or in its place.
    #[must_use]
    pub fn compile(&self, settings: &Settings, present: &Documents, replace: bool) -> Policy {
        let documents = self.documents.clone();
        settings.compile(if replace {
            documents
        } else {
            present.overlaid(documents)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn peer(name: &str, mode: &str, created: &str) -> String {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
             metadata: {{name: {name}, namespace: shop{created}}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
        )
    }

    fn candidate(text: &str) -> Candidate {
        let text = text.to_owned();
        let name = "a.yaml".to_owned();
        Candidate::read(&[SourceText { name, text }]).unwrap()
    }

    #[test]
    fn a_document_takes_the_place_and_the_age_of_its_namesake() {
        let old = ", creationTimestamp: \"2020-01-01T00:00:00Z\"";
        let younger = ", creationTimestamp: \"2021-01-01T00:00:00Z\"";
        let present = candidate(&(peer("b", "STRICT", old) + &peer("a", "DISABLE", younger)));
        let changed = candidate(&peer("b", "PERMISSIVE", ""));
        let policy = changed.compile(&Settings::of_tests(), &present.documents, false);
        let as_written =
            candidate(&(peer("b", "PERMISSIVE", old) + &peer("a", "DISABLE", younger)));
        let expected = Settings::of_tests().compile(as_written.documents);
        assert_eq!(policy, expected);
        let alone = changed.compile(&Settings::of_tests(), &present.documents, true);
        assert_eq!(alone, Settings::of_tests().compile(changed.documents));
        assert_ne!(alone, policy);
    }

    #[test]
    fn errors_are_those_of_lint_and_other_objects_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = peer("a", "STRICTLY", "");
        fs::write(dir.path().join("p.yaml"), format!("# first\n{wrong}")).unwrap();
        let read = |texts: Vec<SourceText>| Candidate::read(&texts);
        let errors = read(Candidate::texts(dir.path()).unwrap()).unwrap_err();
        let lint = crate::control::load(dir.path(), &Settings::of_tests()).unwrap_err();
        assert_eq!(errors, lint);
        let text = errors.iter().next().unwrap().to_string();
        assert!(
            text.starts_with("p.yaml:6: document 1: spec.mtls.mode: "),
            "{text}"
        );
        fs::write(
            dir.path().join("p.yaml"),
            "{apiVersion: v1, kind: Namespace, metadata: {name: x}}\n---\n\
             {apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {p: \"kind: PeerAuthentication\"}}",
        )
        .unwrap();
        fs::write(dir.path().join("mtls-mode"), "STRICT\n").unwrap();
        let read = read(Candidate::texts(dir.path()).unwrap()).unwrap();
        assert!(read.documents.mesh_mode.is_some());
        assert!(read.warnings[0].starts_with("2 of the candidate's objects"));
        assert!(!read.is_empty && candidate("# nothing\n").is_empty);
        assert!(Candidate::texts(Path::new("/nowhere/at/all")).is_err());
    }
}
