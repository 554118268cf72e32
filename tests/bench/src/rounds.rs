//! Measures all variants in turn, so that what the machine does meanwhile falls on all alike.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use crate::{
    cost::Cpu,
    load::{Job, Outcome, Purpose},
    plan::{Kind, Measure, Plan, Size},
    variants::{Built, Facts, Variant},
};

/// One measurement of one variant.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    pub outcome: Outcome,
    pub cpu_seconds: Cpu,
}

/// One round of one variant.
pub type Round = BTreeMap<Measure, Sample>;

/// Resident memory of all agents or proxies of a variant, with more and more idle connections.
///
/// A process that has just started holds memory that it has freed: its first connections, even thousands, seem
/// to cost nothing. What counts is the last batch.
#[derive(Clone, Debug, Serialize)]
pub struct Idle {
    /// Connections of each batch.
    pub batch: usize,
    /// Before the first batch, and after each.
    pub kib: Vec<u64>,
}

/// All that was measured of a variant.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub name: String,
    pub facts: Facts,
    /// Why this machine can't.
    pub unavailable: Option<String>,
    /// Why it could not be measured to the end, although it should.
    pub failure: Option<String>,
    pub idle: Option<Idle>,
    pub rounds: Vec<Round>,
}

impl Measured {
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }
}

/// A variant on its way through the rounds.
struct Candidate {
    variant: Option<Box<Variant>>,
    measured: Measured,
}

/// Warming up, before anything counts.
const WARM_UP_MILLISECONDS: u64 = 200;
const WARM_UP_BYTES: u64 = 1 << 20;
/// Of idle connections. An agent has two descriptors for each connection, and machines set bounds.
pub const MOST_BATCHES: usize = 4;

/// Measures everything. A variant that fails stays as far as it came.
pub fn measure(built: Vec<(String, Result<Built>)>, plan: &Plan) -> Vec<Measured> {
    let mut candidates: Vec<_> = built.into_iter().map(Candidate::new).collect();
    eprintln!(
        "[bench] memory of idle connections, {} at a time",
        plan.idle
    );
    each(&mut candidates, |variant, measured| {
        measured.idle = idle(variant, plan.idle)?;
        Ok(())
    });
    eprintln!("[bench] warming up");
    let size = match plan.size {
        Size::Time(milliseconds) => Size::Time(milliseconds.min(WARM_UP_MILLISECONDS)),
        Size::Amount(bytes) => Size::Amount(bytes.min(WARM_UP_BYTES)),
    };
    for &measure in &plan.measures {
        each(&mut candidates, |variant, _| {
            sample(variant, measure, size).map(|_| ())
        });
    }
    for round in 1..=plan.rounds {
        each(&mut candidates, |_, measured| {
            measured.rounds.push(Round::new());
            Ok(())
        });
        for &measure in &plan.measures {
            let started = Instant::now();
            each(&mut candidates, |variant, measured| {
                let sample = sample(variant, measure, plan.size)?;
                if let Some(round) = measured.rounds.last_mut() {
                    round.insert(measure, sample);
                }
                Ok(())
            });
            let seconds = started.elapsed().as_secs_f64();
            eprintln!(
                "[bench] round {round} of {}: {} ({seconds:.1} s)",
                plan.rounds,
                measure.label()
            );
        }
    }
    candidates
        .into_iter()
        .map(|candidate| candidate.measured)
        .collect()
}

impl Candidate {
    fn new((name, built): (String, Result<Built>)) -> Self {
        let mut measured = Measured {
            name,
            ..Measured::default()
        };
        let variant = match built {
            Ok(Built::Ready(variant, facts)) => {
                measured.facts = facts;
                Some(variant)
            }
            Ok(Built::Unavailable(reason)) => {
                eprintln!("[bench] {}: {reason}", measured.name);
                measured.unavailable = Some(reason);
                None
            }
            Err(error) => {
                measured.fail(&error);
                None
            }
        };
        Self { variant, measured }
    }
}

impl Measured {
    fn fail(&mut self, error: &anyhow::Error) {
        eprintln!("[bench] {} FAILED: {error:#}", self.name);
        self.failure = Some(format!("{error:#}"));
    }
}

/// Does `work` with each variant, in another order each time.
fn each(
    candidates: &mut [Candidate],
    mut work: impl FnMut(&mut Variant, &mut Measured) -> Result<()>,
) {
    let mut order: Vec<_> = (0..candidates.len()).collect();
    fastrand::shuffle(&mut order);
    for index in order {
        let Candidate { variant, measured } = &mut candidates[index];
        if let Some(running) = variant
            && let Err(error) = work(running, measured)
        {
            measured.fail(&error);
            *variant = None;
        }
    }
}

fn sample(variant: &mut Variant, measure: Measure, size: Size) -> Result<Sample> {
    let extent = measure.extent(size);
    let to = variant.to;
    let open = |connections, purpose| Job::Open {
        to,
        connections,
        purpose,
    };
    let job = match measure.kind() {
        Kind::Bulk { connections } => {
            variant.client.does(&open(connections, Purpose::Bulk))?;
            Job::Bulk(extent)
        }
        Kind::Talk { connections } => {
            variant.client.does(&open(connections, Purpose::Talk))?;
            Job::Talk(extent)
        }
        Kind::Turnover { at_once, visit } => Job::Turnover {
            to,
            at_once,
            visit,
            extent,
        },
    };
    let client = &mut variant.client;
    let (outcome, cpu_seconds) = variant.accounts.of(|| client.does(&job))?;
    Ok(Sample {
        outcome,
        cpu_seconds,
    })
}

/// Opens batch after batch, until two have cost the same.
fn idle(variant: &mut Variant, batch: usize) -> Result<Option<Idle>> {
    if variant.accounts.proxies.is_empty() {
        return Ok(None);
    }
    let open = Job::Open {
        to: variant.to,
        connections: batch,
        purpose: Purpose::Talk,
    };
    let mut kib = vec![settled(variant)?];
    for _ in 0..MOST_BATCHES {
        variant.client.does(&open)?;
        kib.push(settled(variant)?);
        if let &[.., before, middle, last] = kib.as_slice() {
            let (once, again) = (middle.saturating_sub(before), last.saturating_sub(middle));
            if once > 0 && once.abs_diff(again) < once / 10 {
                break;
            }
        }
    }
    variant.client.does(&Job::Close)?;
    settled(variant)?;
    Ok(Some(Idle { batch, kib }))
}

/// Resident memory once it doesn't change any more.
fn settled(variant: &Variant) -> Result<u64> {
    const STEP: Duration = Duration::from_millis(200);
    const STEPS: u32 = 25;
    let mut last = variant.accounts.proxies_rss()?;
    for _ in 0..STEPS {
        thread::sleep(STEP);
        let now = variant.accounts.proxies_rss()?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}
