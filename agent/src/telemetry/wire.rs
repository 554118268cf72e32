//! What was on the wire of the pods, as the kernel has counted it. Kept by the kernel: nothing is lost with the agent.

use std::fmt::Write;

use sealane_common::framing::Counts;

use crate::workload::ObjectName;

/// One pod of this node.
#[derive(Clone, Debug)]
pub struct WireRow {
    pub workload: ObjectName,
    pub sent: Counts,
    pub received: Counts,
}

type Value = fn(&Counts) -> u64;

/// Name, help and value of each family.
const FAMILIES: [(&str, &str, Value); 4] = [
    (
        "sealane_wire_records_total",
        "TLS records on the wire of a pod, by framing.",
        |counts| counts.records,
    ),
    (
        "sealane_wire_tls_bytes_total",
        "Payload of TCP in TLS records on the wire of a pod, by framing.",
        |counts| counts.tls,
    ),
    (
        "sealane_wire_plaintext_bytes_total",
        "Payload of TCP outside of TLS records on the wire of a pod.",
        |counts| counts.plaintext,
    ),
    (
        "sealane_wire_unclassified_bytes_total",
        "Payload of TCP on the wire of a pod of which nobody can say whether it was in TLS records.",
        |counts| counts.unclassified,
    ),
];

/// In Prometheus's text format. Names of Kubernetes objects need no escapes, but nobody has to believe that.
pub(super) fn render(rows: &[WireRow], text: &mut String) {
    for (name, help, value) in FAMILIES {
        // Writing to a String can't fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for row in rows {
            let (namespace, pod) = (
                escaped(&row.workload.namespace),
                escaped(&row.workload.name),
            );
            for (direction, counts) in [("sent", &row.sent), ("received", &row.received)] {
                let _ = writeln!(
                    text,
                    "{name}{{namespace=\"{namespace}\",workload=\"{pod}\",direction=\"{direction}\"}} {}",
                    value(counts)
                );
            }
        }
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_of_each_pod_has_a_sample_of_each_family() {
        let rows = [WireRow {
            workload: ObjectName::new("shop", "we\"b"),
            sent: Counts {
                records: 3,
                ..Counts::default()
            },
            received: Counts::default(),
        }];
        let mut text = String::new();
        render(&rows, &mut text);
        let sample = "sealane_wire_records_total{namespace=\"shop\",workload=\"we\\\"b\",direction=\"sent\"} 3\n";
        assert!(text.contains(sample), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(samples.count(), 8);
    }
}
