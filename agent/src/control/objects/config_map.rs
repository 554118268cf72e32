//! `v1/ConfigMap` with policy documents as its values. All other ConfigMaps are nobody's business.

use super::api::ConfigMap;

use super::{
    collect::Collector,
    site::{Site, Stream},
    switch::SWITCH,
    typed::typed,
};
use crate::{
    control::{
        error::{LoadError, Problem},
        yaml::{FieldPath, Node},
    },
    workload::ObjectName,
};

const POLICY: &str = "sealane.dev/policy";

/// Reads the values of a ConfigMap that carries the label `sealane.dev/policy: "true"`.
pub fn read(
    collector: &mut Collector,
    site: &Site<'_>,
    name: &ObjectName,
) -> Result<(), LoadError> {
    let object: ConfigMap = typed(site)?;
    let labels = object.metadata.labels.unwrap_or_default();
    match labels.get(POLICY).map(String::as_str) {
        None | Some("false") => {
            collector.objects.count.skipped += 1;
            return Ok(());
        }
        Some("true") => {}
        Some(other) => {
            let field = FieldPath::of("metadata.labels").key(POLICY);
            return Err(site.error(&field, Problem::Inject(other.to_owned())));
        }
    }
    if object.binary_data.is_some_and(|data| !data.is_empty()) {
        return Err(site.error(&FieldPath::of("binaryData"), Problem::BinaryPolicy));
    }
    // In the same order. To look each of many keys up would take long.
    let nodes = site.node.get("data").into_iter().flat_map(Node::values);
    for ((key, text), node) in object.data.unwrap_or_default().into_iter().zip(nodes) {
        let place = site.on_line(node.line());
        if key == SWITCH {
            let field = site.path.clone().then(&FieldPath::of("data").key(&key));
            collector.switch(place, field, &text);
            continue;
        }
        collector.stream(&Stream::Value(place, name.clone(), key), &text);
    }
    Ok(())
}
