//! Text as it is copied from web pages, terminals and PDFs: list numbers and bullets, line numbers, the shell's
//! here-documents, fences of Markdown, no-break spaces and typographic quotes are taken away where they can't be
//! anything else.
//!
//! Works on lines and keeps their number, so that errors stand where the author sees them.

mod marks;
mod wrapping;

use std::borrow::Cow;

pub use wrapping::INTO;

/// A text without what doesn't belong to it, and what was done, each with the line (from 1).
pub struct Pasted<'t> {
    pub text: Cow<'t, str>,
    pub notes: Vec<(usize, &'static str)>,
}

/// Takes away what is only around the documents.
pub fn read(text: &str) -> Pasted<'_> {
    let mut notes = Vec::new();
    let mut text = Cow::Borrowed(text);
    let steps = [
        (marks::spaces as Step, "no-break spaces are read as spaces"),
        (
            marks::caption,
            "the file's name before the document is left out",
        ),
        (
            marks::numbers,
            "numbers at the beginning of lines are left out",
        ),
        (
            marks::column,
            "the numbers before the document are left out",
        ),
        (
            wrapping::here_documents,
            "read as what the shell would give to the command",
        ),
        (
            wrapping::lone_ends,
            "the end of the shell's here-document is left out",
        ),
        (
            wrapping::fences,
            "the lines around the document are left out",
        ),
        (
            marks::bullet,
            "what stands before the first field is left out",
        ),
        (marks::quotes, "typographic quotes are read as \" and '"),
    ];
    for (step, note) in steps {
        if let Some((line, changed)) = step(&text) {
            notes.push((line, note));
            text = Cow::Owned(changed);
        }
    }
    Pasted { text, notes }
}

/// The first line that it changed, and the text with the change; `None`: there is nothing to change.
type Step = fn(&str) -> Option<(usize, String)>;

/// Changes lines one by one; `None` leaves a line as it is.
fn each_line<'t>(
    text: &'t str,
    mut change: impl FnMut(&'t str) -> Option<String>,
) -> Option<(usize, String)> {
    let mut read = 0;
    // Most texts are as they should be: nothing is copied before the first change.
    let mut changed: Option<(usize, String)> = None;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let said = line.trim_end_matches(['\n', '\r']);
        if let Some(new) = change(said) {
            let before = || (index + 1, text.get(..read).unwrap_or_default().to_owned());
            let (_, changed) = changed.get_or_insert_with(before);
            changed.push_str(&new);
            changed.push_str(line.get(said.len()..).unwrap_or_default());
        } else if let Some((_, changed)) = &mut changed {
            changed.push_str(line);
        }
        read += line.len();
    }
    changed
}

/// Whether a line begins a document, as far as its first word tells.
fn begins_object(line: &str) -> bool {
    let said = line.trim_start_matches(['"', '\'', '“']);
    said.starts_with("apiVersion") || said.starts_with("kind")
}

#[cfg(test)]
mod tests;
