//! The table: a row per figure, a column per variant, each cell the median and its ratio to direct.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::Report;
use crate::{
    figures::{self, Summary},
    rounds::Measured,
};

pub(super) fn text(report: &Report<'_>) -> String {
    let shown: Vec<_> = report
        .measured
        .iter()
        .filter(|one| !one.rounds.is_empty())
        .collect();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(std::iter::once("").chain(shown.iter().map(|one| one.name.as_str())));
    for figure in figures::ALL {
        let summaries: Vec<_> = shown
            .iter()
            .map(|one| figure.summary(one, report.measured))
            .collect();
        // What was not asked for is no row.
        if summaries.iter().any(Option::is_some) {
            let cells = summaries.into_iter().map(cell);
            table.add_row(std::iter::once(Cell::new(figure.label)).chain(cells));
        }
    }
    let idle = shown.iter().map(|one| {
        let summary = figures::idle_kib(one).map(|median| Summary {
            median,
            ratio: None,
        });
        cell(summary)
    });
    table.add_row(std::iter::once(Cell::new(figures::IDLE_LABEL)).chain(idle));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("{table}\n\n");
    for one in report.measured {
        text.push_str(&note(one));
    }
    text.push_str(&frame(report));
    text
}

fn cell(summary: Option<Summary>) -> Cell {
    Cell::new(match summary {
        None => "-".into(),
        Some(Summary {
            median,
            ratio: None,
        }) => number(median),
        Some(Summary {
            median,
            ratio: Some(ratio),
        }) => format!("{} ({ratio:.2})", number(median)),
    })
}

/// Three digits that mean something.
pub(super) fn number(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

fn note(one: &Measured) -> String {
    let failures: u64 = one
        .rounds
        .iter()
        .flat_map(|round| round.values())
        .map(|sample| sample.outcome.failures)
        .sum();
    let mut parts = Vec::new();
    parts.extend(Some(one.facts.about.clone()).filter(|about| !about.is_empty()));
    parts.extend(one.facts.transport.clone());
    parts.extend(one.facts.cipher.clone());
    parts.extend(
        one.unavailable
            .as_ref()
            .map(|reason| format!("NOT MEASURED: {reason}")),
    );
    parts.extend(
        one.failure
            .as_ref()
            .map(|reason| format!("FAILED: {}", first_line(reason))),
    );
    parts.extend((failures > 0).then(|| format!("{failures} connections failed")));
    format!("{}: {}\n", one.name, parts.join("; "))
}

/// What programs said is in the JSON file.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn frame(report: &Report<'_>) -> String {
    let machine = &report.machine;
    format!(
        "Medians of {} rounds, in brackets medians of the ratios to direct of the same round.\n{}, {} × {}, {}\n",
        report.plan.rounds,
        machine.kernel,
        machine.cpus,
        machine.cpu,
        machine.versions.join(", ")
    )
}
