//! Prints what is done, what is seen, and whether it is what was promised.

use std::io::{self, Write};

use anyhow::Result;

/// Counts steps.
#[derive(Debug, Default)]
pub struct Narrator {
    played: u32,
    held: u32,
}

/// Longer lines of programs are cut.
const WIDTH: usize = 110;

impl Narrator {
    pub fn title(&mut self, text: &str) -> Result<()> {
        line(&format!("\n{text}\n"))
    }

    pub fn says(&mut self, text: &str) -> Result<()> {
        line(&format!("  {text}"))
    }

    /// Something that a user could type.
    pub fn command(&mut self, place: &str, text: &str) -> Result<()> {
        line(&format!("    {place}$ {text}"))
    }

    /// What a program printed.
    pub fn output(&mut self, text: &str) -> Result<()> {
        for row in text.lines().filter(|row| !row.trim().is_empty()) {
            let row = row.trim_end();
            let shown: String = row.chars().take(WIDTH).collect();
            let rest = if shown.len() < row.len() { "..." } else { "" };
            line(&format!("      {shown}{rest}"))?;
        }
        Ok(())
    }

    /// Plays a step; its error is the verdict on the step alone.
    pub fn step(&mut self, title: &str, play: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.played += 1;
        line(&format!("\n{}. {title}", self.played))?;
        match play(self) {
            Ok(()) => {
                self.held += 1;
                line("   held")
            }
            Err(error) => line(&format!("   DID NOT HOLD: {error:#}")),
        }
    }

    /// The last line. Returns whether all steps held.
    pub fn summary(&mut self) -> Result<bool> {
        line(&format!(
            "\ndemo: {} of {} steps held",
            self.held, self.played
        ))?;
        Ok(self.held == self.played)
    }
}

fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
