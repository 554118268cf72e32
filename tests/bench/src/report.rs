//! Tells what was measured: a table or JSON on stdout, a JSON file, a plot.

mod json;
mod plot;
mod table;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
};

use anyhow::{Context, Result};

use crate::{machine::Machine, plan::Plan, rounds::Measured};

/// All that is told.
pub struct Report<'a> {
    plan: &'a Plan,
    measured: &'a [Measured],
    typed: &'a [OsString],
    machine: Machine,
}

impl<'a> Report<'a> {
    pub fn new(plan: &'a Plan, measured: &'a [Measured], typed: &'a [OsString]) -> Self {
        Self {
            plan,
            measured,
            typed,
            machine: Machine::look(),
        }
    }

    /// Writes the files, then prints.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn publish(&self) -> Result<()> {
        let directory = &self.plan.output;
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let file = |extension: &str| directory.join(format!("{}.{extension}", self.plan.name));
        let mut json = serde_json::to_string_pretty(&json::document(self))?;
        json.push('\n');
        for (path, content) in [(file("json"), &json), (file("svg"), &plot::svg(self)?)] {
            fs::write(&path, content).with_context(|| path.display().to_string())?;
            eprintln!("[bench] wrote {}", path.display());
        }
        let text = if self.plan.json {
            json
        } else {
            table::text(self)
        };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }
}
