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
    /// Plaintext bytes that it sent on connections to its STRICT ports.
    pub strict: u64,
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

const STRICT: (&str, &str) = (
    "sealane_wire_strict_plaintext_bytes_total",
    "Payload of TCP that a pod sent outside of TLS records on connections to its STRICT ports, but for the kubelet's probes.",
);

/// In Prometheus's text format. Names of Kubernetes objects need no escapes, but nobody has to believe that.
pub(super) fn render(rows: &[WireRow], text: &mut String) {
    for (name, help, value) in FAMILIES {
        heading(name, help, text);
        for row in rows {
            for (direction, counts) in [("sent", &row.sent), ("received", &row.received)] {
                let labels = format!("{},direction=\"{direction}\"", labels(row));
                sample(name, &labels, value(counts), text);
            }
        }
    }
    let (name, help) = STRICT;
    heading(name, help, text);
    for row in rows {
        sample(name, &labels(row), row.strict, text);
    }
}

// Writing to a String can't fail.
fn heading(name: &str, help: &str, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
}

fn sample(name: &str, labels: &str, value: u64, text: &mut String) {
    let _ = writeln!(text, "{name}{{{labels}}} {value}");
}

fn labels(row: &WireRow) -> String {
    let namespace = escaped(&row.workload.namespace);
    let pod = escaped(&row.workload.name);
    format!("namespace=\"{namespace}\",workload=\"{pod}\"")
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
            strict: 5,
        }];
        let mut text = String::new();
        render(&rows, &mut text);
        let sample = "sealane_wire_records_total{namespace=\"shop\",workload=\"we\\\"b\",direction=\"sent\"} 3\n";
        assert!(text.contains(sample), "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(samples.count(), 9);
        let sample = "sealane_wire_strict_plaintext_bytes_total{namespace=\"shop\",workload=\"we\\\"b\"} 5\n";
        assert!(text.contains(sample), "{text}");
    }
}
