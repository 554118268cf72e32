//! Reads Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>). Comments and timestamps are dropped; that
//! the text is well formed is promtool's to say.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One scrape.
#[derive(Debug, Default)]
pub struct Metrics {
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    /// # Errors
    /// The line that can't be read.
    pub fn parse(text: &str) -> Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| sample(line).with_context(|| format!("not a sample: {line}")))
            .collect::<Result<_>>()?;
        Ok(Self { samples })
    }

    /// The samples of a family that have all of `labels`.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        })
    }

    /// The sum of [`Metrics::matching`].
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = match line.find('{') {
        Some(brace) => (&line[..brace], &line[brace + 1..]),
        None => line.split_once(' ')?,
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    if line.contains('{') {
        while let Some((label, after)) = rest.split_once("=\"") {
            if rest.starts_with('}') {
                break;
            }
            let (value, after) = quoted(after)?;
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_escapes_and_bare_names() {
        let text = "# HELP a b\nup 1\nx_total{a=\"b\",c=\"d \\\"e\\\"\"} 2.5 1700\nx_total{a=\"b\",c=\"\"} 1\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("up", &[]), 1.0);
        assert_eq!(metrics.sum("x_total", &[("a", "b")]), 3.5);
        assert_eq!(metrics.sum("x_total", &[("c", "d \"e\"")]), 2.5);
        assert!(Metrics::parse("x_total{a=\"b} 1").is_err());
    }
}
