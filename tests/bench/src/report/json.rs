//! The JSON file: every value of every round, and the medians.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Report;
use crate::{
    figures::{self, Summary},
    plan::Measure,
    rounds::Measured,
};

pub(super) fn document(report: &Report<'_>) -> Value {
    let typed: Vec<_> = report
        .typed
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let measures: BTreeMap<_, _> = Measure::ALL
        .iter()
        .map(|measure| (*measure, measure.label()))
        .collect();
    let variants: Vec<_> = report
        .measured
        .iter()
        .map(|one| variant(one, report.measured))
        .collect();
    json!({
        "machine": report.machine,
        "arguments": typed,
        "rounds": report.plan.rounds,
        "size": report.plan.size,
        "measures": measures,
        "variants": variants,
    })
}

fn variant(measured: &Measured, all: &[Measured]) -> Value {
    let summaries: BTreeMap<&str, Summary> = figures::ALL
        .iter()
        .filter_map(|figure| Some((figure.key, figure.summary(measured, all)?)))
        .collect();
    json!({
        "name": measured.name,
        "about": measured.facts.about,
        "transport": measured.facts.transport,
        "cipher": measured.facts.cipher,
        "unavailable": measured.unavailable,
        "failure": measured.failure,
        "summary": summaries,
        "idle_kib_per_connection": figures::idle_kib(measured),
        "idle": measured.idle,
        "rounds": measured.rounds,
    })
}
