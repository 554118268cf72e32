//! Scenarios times address families as trials of libtest's command line. Knows no scenario.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use sealane_harness::{Family, Run, World, apps::MariaDbTemplate};

use crate::{scenarios::ALL, stage::Stage};

/// Trials wait more than they compute.
const THREADS: usize = 3;
/// The slowest trials are named at the end: so many.
const SLOWEST: usize = 10;

/// A scenario; its name is that of the list of scenarios, where it is there.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub play: fn(&Stage<'_>) -> Result<()>,
}

/// Whether the arguments ask for text alone, which needs neither root nor isolation.
pub fn only_talk(mut arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.any(|argument| argument == "--list" || argument == "--help" || argument == "-h")
}

/// Prints the list or the help.
pub fn talk() -> ExitCode {
    let arguments = Arguments::from_args();
    let unused = ALL.iter().flat_map(|scenario| {
        Family::ALL.map(|family| Trial::test(name(scenario, family), || Ok(())))
    });
    libtest_mimic::run(&arguments, unused.collect()).exit_code()
}

/// Runs the trials that the arguments select. The last line tells the numbers.
pub fn run(run: &Arc<Run>, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let program = OsStr::new("sealane-suite").to_owned();
    let mut arguments = Arguments::from_iter(std::iter::once(program).chain(arguments));
    arguments.test_threads.get_or_insert(THREADS);
    let mariadb = Arc::new(MariaDbTemplate::default());
    let times = Times::default();
    let mut trials = Vec::new();
    for scenario in ALL {
        for family in Family::ALL {
            let (run, mariadb, times) = (Arc::clone(run), Arc::clone(&mariadb), times.clone());
            trials.push(Trial::test(name(scenario, family), move || {
                times.of(name(scenario, family), || {
                    play(&run, &mariadb, scenario, family)
                })
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let _ = writeln!(io::stdout(), "slowest: {}", times.slowest());
    let (passed, failed) = (conclusion.num_passed, conclusion.num_failed);
    let summary = format!(
        "{passed} passed, {failed} failed, {} skipped",
        conclusion.num_ignored
    );
    let _ = writeln!(io::stdout(), "{summary}");
    let nothing_ran = passed + failed == 0;
    if failed > 0 || nothing_ran {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// How long each trial took.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<(Duration, String)>>>);

impl Times {
    fn of<T>(&self, name: String, trial: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let outcome = trial();
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.push((start.elapsed(), name));
        outcome
    }

    fn slowest(&self) -> String {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort_by(|a, b| b.cmp(a));
        let slowest = times.iter().take(SLOWEST);
        let shown = slowest.map(|(time, name)| format!("{name} {:.1} s", time.as_secs_f32()));
        shown.collect::<Vec<_>>().join(", ")
    }
}

fn name(scenario: &Scenario, family: Family) -> String {
    format!("{}::{}", scenario.name, family.name())
}

/// Plays in a world of its own. A failure's report ends with what all programs said.
fn play(
    run: &Arc<Run>,
    mariadb: &MariaDbTemplate,
    scenario: &Scenario,
    family: Family,
) -> Result<(), Failed> {
    let world = World::new(run).map_err(|error| format!("building the world: {error:#}"))?;
    let stage = Stage {
        world: &world,
        family,
        mariadb,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&stage)))
        .unwrap_or_else(|_| Err(anyhow!("panicked, see above")));
    outcome.map_err(|error| format!("{error:#}\n{}", world.evidence()).into())
}
