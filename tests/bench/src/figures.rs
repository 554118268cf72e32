//! The figures: what is told of the samples.

use serde::Serialize;

use crate::{
    plan::{DIRECT, Measure},
    rounds::{Measured, Round, Sample},
};

/// A number that a round of a variant has.
pub struct Figure {
    /// In the JSON file.
    pub key: &'static str,
    pub label: &'static str,
    pub better: Better,
    /// Whether the plot has it.
    pub is_drawn: bool,
    value: fn(&Round) -> Option<f64>,
}

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// Over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub median: f64,
    /// Median of the ratios to direct of the same round; none where direct has none.
    pub ratio: Option<f64>,
}

/// In the order of the table.
pub const ALL: &[Figure] = &[
    more("stream_gbit_s", "1 stream, Gbit/s", |r| {
        rate(r, Measure::Stream)
    }),
    more("streams_gbit_s", "8 streams, Gbit/s", |r| {
        rate(r, Measure::Streams)
    }),
    more("talk_per_s", "requests/s, 1 connection", |r| {
        frequency(r, Measure::Talk)
    }),
    less("talk_p50_us", "  p50, µs", |r| {
        r.get(&Measure::Talk)?.outcome.p50
    }),
    less("talk_p99_us", "  p99, µs", |r| {
        r.get(&Measure::Talk)?.outcome.p99
    }),
    more("talks_per_s", "requests/s, 64 connections", |r| {
        frequency(r, Measure::Talks)
    }),
    less("talks_p50_us", "  p50, µs", |r| {
        r.get(&Measure::Talks)?.outcome.p50
    }),
    less("talks_p99_us", "  p99, µs", |r| {
        r.get(&Measure::Talks)?.outcome.p99
    }),
    more("connections_per_s", "new connections/s", |r| {
        frequency(r, Measure::Connections)
    }),
    more("handshakes_per_s", "handshakes/s", |r| {
        frequency(r, Measure::Handshakes)
    }),
    less("cpu_s_per_gb_proxies", "CPU s/GB, proxies alone", |r| {
        bulk_cost(r, |sample| sample.cpu_seconds.proxies)
    })
    .drawn(),
    less("cpu_s_per_gb_all", "CPU s/GB, with the load", |r| {
        bulk_cost(r, |sample| {
            sample.cpu_seconds.proxies + sample.cpu_seconds.load
        })
    }),
    less("cpu_s_per_gb_machine", "CPU s/GB, whole machine", |r| {
        bulk_cost(r, |sample| sample.cpu_seconds.machine)
    }),
    less("cpu_ms_per_handshake", "CPU ms/handshake, proxies", |r| {
        let sample = r.get(&Measure::Handshakes)?;
        over(
            1000.0 * sample.cpu_seconds.proxies,
            sample.outcome.operations as f64,
        )
    }),
];

const fn more(key: &'static str, label: &'static str, value: fn(&Round) -> Option<f64>) -> Figure {
    Figure {
        key,
        label,
        better: Better::More,
        is_drawn: true,
        value,
    }
}

const fn less(key: &'static str, label: &'static str, value: fn(&Round) -> Option<f64>) -> Figure {
    Figure {
        key,
        label,
        better: Better::Less,
        is_drawn: false,
        value,
    }
}

impl Figure {
    const fn drawn(mut self) -> Self {
        self.is_drawn = true;
        self
    }
}

fn rate(round: &Round, measure: Measure) -> Option<f64> {
    let Sample { outcome, .. } = round.get(&measure)?;
    over(outcome.bytes as f64 * 8e-9, outcome.seconds)
}

fn frequency(round: &Round, measure: Measure) -> Option<f64> {
    let Sample { outcome, .. } = round.get(&measure)?;
    over(outcome.operations as f64, outcome.seconds)
}

/// Per 10⁹ bytes, over both bulk transfers.
fn bulk_cost(round: &Round, cost: fn(&Sample) -> f64) -> Option<f64> {
    let samples = [Measure::Stream, Measure::Streams].map(|measure| round.get(&measure));
    let samples: Vec<_> = samples.into_iter().flatten().collect();
    let bytes: u64 = samples.iter().map(|sample| sample.outcome.bytes).sum();
    over(
        samples.iter().map(|sample| cost(sample)).sum(),
        bytes as f64 * 1e-9,
    )
}

fn over(dividend: f64, divisor: f64) -> Option<f64> {
    (divisor > 0.0).then_some(dividend / divisor)
}

impl Figure {
    /// `None` when nothing was measured, or nothing was there to be measured.
    pub fn summary(&self, of: &Measured, all: &[Measured]) -> Option<Summary> {
        let values = of
            .rounds
            .iter()
            .map(|round| (self.value)(round))
            .collect::<Vec<_>>();
        let median = median(values.iter().copied().flatten())?;
        let direct = all.iter().find(|measured| measured.name == DIRECT)?;
        let references = direct.rounds.iter().map(|round| (self.value)(round));
        let ratios = values.iter().zip(references);
        let ratios = ratios.filter_map(|(value, reference)| over((*value)?, reference?));
        Some(Summary {
            median,
            ratio: self::median(ratios),
        })
        .filter(|_| median > 0.0)
    }
}

pub const IDLE_LABEL: &str = "KiB/idle connection";

/// Resident memory of the agents or proxies for each idle connection. `None` as long as it is memory that they
/// had anyway.
pub fn idle_kib(of: &Measured) -> Option<f64> {
    let idle = of.idle.as_ref()?;
    let &[.., before, after] = idle.kib.as_slice() else {
        return None;
    };
    let grown = after.checked_sub(before).filter(|grown| *grown > 0)?;
    over(grown as f64, idle.batch as f64)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => values.get(middle).copied(),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
    }
}
