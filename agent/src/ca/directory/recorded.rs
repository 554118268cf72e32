//! What is remembered in a CA's directory of its keys, also where it can't be written: on a full disk, and on one that is
//! for reading alone.

use std::time::{Duration, SystemTime};

use super::{Files, Locked, Paths, read};
use crate::ca::{
    CaError, Stage,
    rotation::{Record, steps},
};

/// Everybody who has the directory looks every second whether a stage is over.
const LATE: Duration = Duration::from_secs(60);

/// A record as it is on disk.
pub(in crate::ca) struct Recorded {
    pub(in crate::ca) record: Record,
    /// Why it isn't as it should be.
    pub(in crate::ca) error: Option<CaError>,
}

impl From<Record> for Recorded {
    fn from(record: Record) -> Self {
        Self {
            record,
            error: None,
        }
    }
}

impl Recorded {
    /// For those who look and change nothing: an error where others should have moved a change on long ago.
    pub(in crate::ca) fn seen(record: Record, now: SystemTime) -> Self {
        let late = record.rotation.filter(|_| is_late(&record, now));
        Self {
            error: late.map(|rotation| CaError::Overdue { rotation }),
            record,
        }
    }

    /// Certificates of a process that can't say how long they live must not live longer than others have said: a change
    /// of key would not wait for them.
    pub(in crate::ca) fn bound(&self, life: Duration, now: SystemTime) -> Duration {
        match self.error {
            None => life,
            Some(_) => life.min(self.record.longest(now)),
        }
    }

    /// What is worth a warning. That keys given read-only can't be changed is as it should be, as long as somebody else
    /// changes them when it is time.
    pub(in crate::ca) fn warning(&self, now: SystemTime) -> Option<String> {
        let error = self.error.as_ref()?;
        (!error.is_readonly() || is_late(&self.record, now)).then(|| error.to_string())
    }
}

fn is_late(record: &Record, now: SystemTime) -> bool {
    record.advanced(now - LATE).is_some()
}

impl Locked {
    /// The record of a change; an empty one where nothing was recorded.
    pub(in crate::ca) fn record(&self) -> Result<Record, CaError> {
        let path = &self.paths.record;
        let text = read(path)?;
        let parsed = text.map_or(Ok(Record::default()), |text| serde_json::from_slice(&text));
        parsed.map_err(|source| CaError::Record {
            path: path.clone(),
            source,
        })
    }

    /// Does what an earlier process did not come to.
    pub(in crate::ca) fn repair(&self, record: &Record) -> Result<(), CaError> {
        loop {
            let steps = steps::follow(&self.paths, record.stage());
            if steps.is_empty() {
                return Ok(());
            }
            steps.iter().try_for_each(steps::FileStep::take)?;
        }
    }

    /// Records something, and does what follows from it.
    pub(in crate::ca) fn turn(&self, record: &Record) -> Result<(), CaError> {
        steps::write(&self.paths, record)?.take()?;
        self.repair(record)
    }

    /// What the record says is true of the files again, as far as anything can be written.
    pub(in crate::ca) fn repaired(&self) -> Result<Recorded, CaError> {
        let record = self.record()?;
        match self.repair(&record) {
            Ok(()) => Ok(record.into()),
            Err(error @ CaError::Write { .. }) => Ok(Recorded {
                record,
                error: Some(error),
            }),
            Err(error) => Err(error),
        }
    }

    /// Moves a change on by one stage when it is time, if `try_out` finds what signs from then on good: nothing that it
    /// takes to go back is removed before. Returns the record when it has changed.
    pub(in crate::ca) fn advance<T>(
        &self,
        record: &Record,
        now: SystemTime,
        try_out: impl Fn(&Files, &Paths) -> Result<T, CaError>,
    ) -> Result<Option<Record>, CaError> {
        let Some(next) = record.advanced(now) else {
            return Ok(None);
        };
        let paths = match next.stage() {
            Stage::Signing => self.paths.next(&self.dir),
            _ => Paths::new(&self.dir),
        };
        try_out(&paths.read()?, &paths)?;
        self.turn(&next)?;
        Ok(Some(next))
    }

    /// [`advance`](Self::advance) if anything can be written: what isn't on disk has not happened. Says whether it has.
    pub(in crate::ca) fn move_on<T>(
        &self,
        recorded: Recorded,
        now: SystemTime,
        try_out: impl Fn(&Files, &Paths) -> Result<T, CaError>,
    ) -> (Recorded, Result<bool, CaError>) {
        let Recorded { record, error } = recorded;
        match self.advance(&record, now, try_out) {
            Ok(None) => (Recorded { record, error }, Ok(false)),
            Ok(Some(next)) => (next.into(), Ok(true)),
            Err(failed @ CaError::Write { .. }) => {
                let error = Some(failed);
                (Recorded { record, error }, Ok(false))
            }
            Err(failed) => (Recorded { record, error }, Err(failed)),
        }
    }

    /// Records how long certificates live.
    pub(in crate::ca) fn use_life(
        &self,
        recorded: Recorded,
        life: Duration,
        now: SystemTime,
    ) -> Result<Recorded, CaError> {
        let used = recorded.record.used(life, now);
        self.note(recorded, used)
    }

    /// Records what the service is called.
    pub(in crate::ca) fn serve(
        &self,
        recorded: Recorded,
        names: &[String],
    ) -> Result<Recorded, CaError> {
        let serving = recorded.record.serving(names);
        self.note(recorded, serving)
    }

    fn note(&self, recorded: Recorded, news: Option<Record>) -> Result<Recorded, CaError> {
        let Recorded { record, error } = recorded;
        let Some(news) = news.filter(|_| error.is_none()) else {
            return Ok(Recorded { record, error });
        };
        match self.turn(&news) {
            Ok(()) => Ok(news.into()),
            Err(error @ CaError::Write { .. }) => Ok(Recorded {
                record: self.record()?,
                error: Some(error),
            }),
            Err(error) => Err(error),
        }
    }

    /// Records a certificate that is issued by hand, before anybody has it. Where keys are others' nothing depends on it.
    /// Returns why a directory that is for reading alone has no record of it.
    pub(in crate::ca) fn issue(&self, end: SystemTime) -> Result<Option<CaError>, CaError> {
        if self.paths.check_ours().is_err() {
            return Ok(None);
        }
        match self.record()?.issued(end).map(|record| self.turn(&record)) {
            Some(Err(error)) if error.is_readonly() => Ok(Some(error)),
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(None),
        }
    }
}
