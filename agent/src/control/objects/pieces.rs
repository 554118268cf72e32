//! A stream of YAML, cut where one document ends and the next begins, without parsing it.
//!
//! A line that begins with `---` always begins a document, also inside of a text in quotes or a block
//! (<https://yaml.org/spec/1.2.2/#rule-c-forbidden>).

/// One document, or what stands before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Piece<'t> {
    pub text: &'t str,
    /// Of the stream before it.
    pub lines: usize,
    pub documents: usize,
}

impl<'t> Piece<'t> {
    /// Nothing is before it.
    #[must_use]
    pub fn whole(text: &'t str) -> Self {
        Self {
            text,
            lines: 0,
            documents: 0,
        }
    }
}

/// Cuts a stream. One with directives or explicit ends of documents, which belong to what is next to them, is left
/// whole.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    let (mut first_line, mut documents) = (0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with('%') || line.starts_with("...") {
            return vec![Piece::whole(text)];
        }
        if begins_document(line) && at > 0 {
            let piece = &text[start..at];
            pieces.push(Piece {
                text: piece,
                lines: first_line,
                documents,
            });
            documents += usize::from(start > 0 || begins_document(piece) || has_content(piece));
            (start, first_line) = (at, number);
        }
        at += line.len();
    }
    pieces.push(Piece {
        text: &text[start..],
        lines: first_line,
        documents,
    });
    pieces
}

fn begins_document(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// More than comments: a document that nothing announces.
fn has_content(text: &str) -> bool {
    text.lines()
        .map(str::trim_start)
        .any(|line| !line.is_empty() && !line.starts_with('#') && line != "\u{feff}")
}

#[cfg(test)]
mod tests {
    use super::pieces;
    use crate::control::yaml;

    /// Lines and numbers of the documents, and what they are.
    fn read(text: &str, lines: usize, documents: usize) -> Vec<(usize, usize, String)> {
        let read = yaml::documents(text, &yaml::Budget::default()).map(|read| read.expect(text));
        let shown = |d: yaml::Document| {
            let root = d.root();
            (
                d.index + documents,
                root.line() + lines,
                root.value.to_string(),
            )
        };
        read.map(shown).collect()
    }

    #[test]
    fn pieces_are_what_the_whole_is() {
        for text in [
            "",
            "a: 1",
            "---\na: 1\n---\nb: 2\n",
            "a: 1\n---\nb: 2",
            "# nothing\n---\na: 1\n---\n---\n# nothing\n---\nb:\n- 2\n---",
            "--- {a: 1}\n--- [b]\n---\n---- c\n",
            "a: |\n  text\n  ---\n---\nb: \"x\"\n",
            "\u{feff}a: 1\n---\nb: 2\n",
            "---\r\na: 1\r\n---\r\nb: 2\r\n",
            "%YAML 1.2\n---\na: 1\n...\n---\nb: 2\n",
            "\n\n---\n\na: 1\n\n\n---\nb: 2\n",
        ] {
            let whole = read(text, 0, 0);
            let parts: Vec<_> = pieces(text)
                .into_iter()
                .flat_map(|piece| read(piece.text, piece.lines, piece.documents))
                .collect();
            assert_eq!(parts, whole, "{text:?}");
        }
    }
}
