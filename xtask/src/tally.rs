//! How many tests passed, failed and were skipped, from what test programs print.

use std::fmt;

/// Counts of tests. Shown as the line that everything of ours ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    Skipped,
}

impl Verdict {
    /// Reads libtest's `test [KIND] NAME ... ok`; the name comes first in what it returns.
    pub fn from_line(line: &str) -> Option<(&str, Self)> {
        let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let verdict = match verdict.trim_end() {
            "ok" => Self::Passed,
            "FAILED" => Self::Failed,
            "ignored" => Self::Skipped,
            _ => return None,
        };
        Some((name.split_whitespace().last()?, verdict))
    }
}

impl From<Verdict> for Tally {
    fn from(verdict: Verdict) -> Self {
        let mut tally = Self::default();
        match verdict {
            Verdict::Passed => tally.passed = 1,
            Verdict::Failed => tally.failed = 1,
            Verdict::Skipped => tally.skipped = 1,
        }
        tally
    }
}

impl Tally {
    /// Of what went wrong outside any test.
    pub const FAILURE: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };

    /// Reads libtest's `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    pub fn from_libtest(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let mut fields = counts.split("; ");
        Some(Self {
            passed: count(fields.next()?, "passed")?,
            failed: count(fields.next()?, "failed")?,
            skipped: count(fields.next()?, "ignored")?,
        })
    }

    /// Reads the suite's `3 passed, 0 failed, 1 skipped`.
    pub fn from_suite(line: &str) -> Option<Self> {
        let mut fields = line.trim_end().split(", ");
        let tally = Self {
            passed: count(fields.next()?, "passed")?,
            failed: count(fields.next()?, "failed")?,
            skipped: count(fields.next()?, "skipped")?,
        };
        fields.next().is_none().then_some(tally)
    }

    /// Whether something ran and all of it passed.
    pub fn is_success(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

fn count(field: &str, name: &str) -> Option<u64> {
    let (number, word) = field.split_once(' ')?;
    (word == name).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{Tally, Verdict};

    const EXPECTED: Tally = Tally {
        passed: 31,
        failed: 2,
        skipped: 1,
    };

    #[test]
    fn libtest() {
        let line = "test result: FAILED. 31 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(Tally::from_libtest(line), Some(EXPECTED));
        assert_eq!(Tally::from_libtest("test proxy::relay ... ok"), None);
        assert_eq!(Tally::from_libtest("test result: ok. many passed"), None);
    }

    #[test]
    fn verdicts() {
        let read = Verdict::from_line;
        assert_eq!(
            read("test reset::v4          ... ok"),
            Some(("reset::v4", Verdict::Passed))
        );
        assert_eq!(
            read("test reset::v6 ... FAILED"),
            Some(("reset::v6", Verdict::Failed))
        );
        assert_eq!(
            read("test reset::v6 ... ignored"),
            Some(("reset::v6", Verdict::Skipped))
        );
        assert_eq!(read("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(read("reset::v4 ... ok"), None);
    }

    #[test]
    fn suite_reads_what_is_shown() {
        let line = EXPECTED.to_string();
        assert_eq!(line, "31 passed, 2 failed, 1 skipped");
        assert_eq!(Tally::from_suite(&line), Some(EXPECTED));
        assert_eq!(Tally::from_suite("31 passed, 2 failed"), None);
        assert_eq!(
            Tally::from_suite("31 passed, 2 failed, 1 skipped, 4 flaky"),
            None
        );
    }

    #[test]
    fn nothing_ran_is_no_success() {
        assert!(!Tally::default().is_success());
        assert!(!EXPECTED.is_success());
        assert!(
            Tally {
                failed: 0,
                ..EXPECTED
            }
            .is_success()
        );
    }
}
