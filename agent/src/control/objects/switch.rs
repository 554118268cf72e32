//! The mesh's mode in one line, beside the documents: the file `mtls-mode` of a directory, or that key of a `ConfigMap`
//! with policy, which is the same where it is mounted.

use std::sync::Arc;

use super::{claim::Claim, collect::Collector, kind::Kind, site::Stream};
use crate::{
    control::{
        error::{LoadError, Place, Problem},
        yaml::FieldPath,
    },
    policy::Mode,
    workload::ObjectName,
};

/// Name of the file, or of the key.
pub const SWITCH: &str = "mtls-mode";

impl Collector {
    /// Reads the file.
    pub fn switch_file(&mut self, text: &str) {
        self.objects.count.files += 1;
        let place = Stream::File(SWITCH.into()).place(1, 1);
        self.switch(place, FieldPath::default(), text);
    }

    pub(super) fn switch(&mut self, place: Place, field: FieldPath, text: &str) {
        let mode = match text.trim() {
            "STRICT" => Mode::Strict,
            "PERMISSIVE" => Mode::Permissive,
            "DISABLE" => Mode::Disable,
            other => {
                let problem = Problem::Switch(other.chars().take(40).collect());
                return self.errors.push(LoadError {
                    place: place.into(),
                    field,
                    problem,
                    namespace: Some("".into()),
                    is_vital: true,
                });
            }
        };
        self.claim(&Arc::new(Claim {
            kind: Kind::Switch,
            name: ObjectName::new("", SWITCH),
            place,
            field,
        }));
        self.objects.documents.mesh_mode = Some(mode);
    }
}
