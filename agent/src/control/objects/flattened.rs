//! Documents that have lost their indentation, as text copied from web pages and PDFs often has: put back where only
//! one reading is possible.
//!
//! Works on lines and keeps their number, so that errors stand where the author sees them. Text in which anything is
//! indented below something else is not touched, nor is any whose `metadata` says something: what is read here would
//! be refused otherwise.

mod open;
mod shapes;

use std::borrow::Cow;

use super::{collect::Collector, kind::Kind, pieces::Piece, site::Stream};
use crate::control::{
    error::{LoadError, Problem},
    yaml::FieldPath,
};
use open::Tree;

impl Collector {
    /// Reads one document, with its indentation. Returns whether all of it could be parsed.
    pub(super) fn restore(&mut self, stream: &Stream, piece: Piece<'_>) -> bool {
        let place = |line| stream.place(piece.documents + 1, piece.lines + line);
        match restored(piece.text) {
            Flattened::No => self.parse(stream, piece),
            Flattened::Ambiguous { line } => {
                self.errors.push(LoadError {
                    place: place(line).into(),
                    field: FieldPath::default(),
                    problem: Problem::Indentation,
                    namespace: None,
                    is_vital: true,
                });
                true
            }
            Flattened::Restored {
                line,
                left_out,
                text,
                fields,
            } => {
                let warnings = &mut self.objects.warnings;
                warnings.push(format!(
                    "{}: the indentation is missing: read as {}",
                    place(line),
                    fields.join(", ")
                ));
                warnings.extend(left_out.map(|line| {
                    format!(
                        "{}: there is no such kind in this apiVersion: the line is left out",
                        place(line)
                    )
                }));
                let text = &*text;
                self.parse(stream, Piece { text, ..piece })
            }
        }
    }
}

/// What has become of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flattened {
    /// It isn't flat, or nobody here knows what belongs where.
    No,
    /// The text with its indentation, on which line it begins, the line of an `apiVersion` that isn't its own, and
    /// where the fields went, in order.
    Restored {
        line: usize,
        left_out: Option<usize>,
        text: String,
        fields: Vec<String>,
    },
    /// On this line (from 1) it can't be told what belongs where.
    Ambiguous { line: usize },
}

/// One line that says something.
#[derive(Clone, Copy, Debug)]
struct Line<'t> {
    /// Counts from 1.
    number: usize,
    /// Begins an item of a list.
    dash: bool,
    /// `None`: a bare value.
    key: Option<&'t str>,
    value: &'t str,
    text: &'t str,
}

impl<'t> Line<'t> {
    fn parse(number: usize, text: &'t str) -> Self {
        let text = text.trim();
        let (dash, rest) = match text.strip_prefix('-') {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => (true, rest.trim()),
            _ => (false, text),
        };
        let pair = rest
            .split_once(": ")
            .or_else(|| rest.strip_suffix(':').map(|key| (key, "")));
        let (key, value) = match pair {
            Some((key, value)) if !rest.starts_with(['"', '\'', '{', '[']) => {
                (Some(key), value.trim())
            }
            _ => (None, rest),
        };
        Self {
            number,
            dash,
            key,
            value: if value.starts_with('#') { "" } else { value },
            text,
        }
    }

    fn is(&self, key: &str) -> bool {
        self.key == Some(key) && !self.dash
    }

    fn unquoted(&self) -> &'t str {
        self.value.trim_matches(['"', '\''])
    }
}

/// Where a field of a document may stand, if it is one of its kind: the place that is the least deep.
pub fn home(kind: Kind, field: &str) -> Option<String> {
    shapes::home(shapes::of(kind)?, field)
}

/// Puts back the indentation of one document.
pub fn restored(text: &str) -> Flattened {
    let Some(lines) = flat_lines(text) else {
        return Flattened::No;
    };
    let kind = lines.iter().find(|line| line.is("kind"));
    let kind = kind.map(Line::unquoted).unwrap_or_default();
    let versions = lines.iter().filter(|line| line.is("apiVersion"));
    let known = |line: &&Line<'_>| Kind::of(line.unquoted(), kind) != Kind::Unknown;
    let mut versions = versions.filter(known);
    let (Some(version), None) = (versions.next(), versions.next()) else {
        return Flattened::No;
    };
    let Some(shape) = shapes::of(Kind::of(version.unquoted(), kind)) else {
        return Flattened::No;
    };
    let mut tree = Tree::new(shape);
    let mut left_out = None;
    for line in &lines {
        // Of another document, pasted with this one: it has no such kind.
        if line.is("apiVersion") && line.number != version.number {
            left_out = Some(line.number);
            continue;
        }
        if !tree.take(line) {
            return Flattened::Ambiguous { line: line.number };
        }
    }
    let (placed, fields) = tree.finish();
    Flattened::Restored {
        line: version.number,
        left_out,
        text: indented(text, &placed),
        fields,
    }
}

/// The lines that say something, if none is indented below another and there is a `metadata` without anything.
fn flat_lines(text: &str) -> Option<Vec<Line<'_>>> {
    let mut lines = Vec::new();
    let mut depth = usize::MAX;
    for (index, line) in text.lines().enumerate() {
        let said = line.trim_start_matches('\u{feff}').trim();
        if said.is_empty() || said.starts_with('#') || said.starts_with("---") {
            continue;
        }
        let indentation = line.len() - line.trim_start().len();
        if indentation > depth {
            return None;
        }
        depth = indentation;
        lines.push(Line::parse(index + 1, said));
    }
    let lost = lines
        .iter()
        .any(|line| line.is("metadata") && line.value.is_empty());
    lost.then_some(lines)
}

/// The same lines, each where it belongs; what isn't in `placed` is left out.
fn indented(text: &str, placed: &[(usize, usize, &str)]) -> String {
    let mut placed = placed.iter().peekable();
    let mut restored = String::with_capacity(text.len() * 2);
    for (index, line) in text.lines().enumerate() {
        if let Some((_, column, said)) = placed.next_if(|(number, ..)| *number == index + 1) {
            restored.extend(std::iter::repeat_n(' ', *column));
            restored.push_str(said);
        } else if line.starts_with("---") {
            restored.push_str("---");
        }
        restored.push('\n');
    }
    restored
}

/// Text that is indented as a whole, such as an example in a list, without what all of its lines begin with.
pub fn dedented(text: &str) -> Cow<'_, str> {
    let indentation = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let said = text.lines().filter(|line| !line.trim().is_empty());
    match said.map(indentation).min() {
        None | Some(0) => Cow::Borrowed(text),
        Some(columns) => text
            .split_inclusive('\n')
            .map(|line| line.get(columns.min(indentation(line))..).unwrap_or(line))
            .collect::<String>()
            .into(),
    }
}

#[cfg(test)]
mod tests;
