//! What to do about a text that is no YAML, as far as its look tells.

/// A sentence to put behind the parser's own words, for an error on a line (from 1).
pub(super) fn of(text: &str, line: usize) -> &'static str {
    let said = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let is_prose = |line: &&str| is_prose(line);
    let first = text.lines().map(str::trim).find(|line| !is_comment(line));
    if said.contains("{{") || text.contains("{{-") || text.contains("{{ ") {
        "; `{{ … }}` is of a template: render it first, as with `helm template`"
    } else if indentation(said).contains('\t') {
        "; YAML is indented with spaces only: replace the tabs"
    } else if said.contains("[*") || said.contains("- *") || said.contains(": *") {
        "; a value that begins with `*` needs quotes: \"*\""
    } else if first.as_ref().is_some_and(is_prose) {
        "; the text begins with a line that is no part of a document: remove it"
    } else if is_prose(&said.trim()) {
        "; this line is no part of a document: remove it"
    } else {
        ""
    }
}

fn indentation(line: &str) -> &str {
    let said = line.trim_start();
    line.get(..line.len() - said.len()).unwrap_or_default()
}

fn is_comment(line: &str) -> bool {
    line.is_empty() || line.starts_with('#')
}

/// Neither a field nor an item nor anything else that YAML has.
fn is_prose(line: &str) -> bool {
    let is_field = line.ends_with(':') || line.contains(": ");
    let begins = [
        "-", "{", "[", "]", "}", "\"", "'", "%", "&", "?", "|", ">", "...",
    ];
    let is_yaml = is_field || begins.iter().any(|begin| line.starts_with(begin));
    !is_comment(line) && !is_yaml || line.starts_with("$ ") || line.starts_with("```")
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn every_remedy_is_for_what_it_says() {
        for (text, line, remedy) in [
            ("a:\n\tb: c\n", 2, "; YAML is indented"),
            ("a: {{ .Values.b }}\n", 1, "; `{{ … }}`"),
            ("{{- if .x }}\na: b\n", 1, "; `{{ … }}`"),
            ("a: [*]\n", 1, "; a value that begins with `*`"),
            ("# one\nThis is how:\n", 1, ""),
            ("kubectl get pods\na: b\n", 2, "; the text begins"),
            ("a: b\nand then\nc: d\n", 2, "; this line is no part"),
            ("a: b\n  c: d\n", 2, ""),
        ] {
            let found = of(text, line);
            assert!(
                found.starts_with(remedy) && found.is_empty() == remedy.is_empty(),
                "{text}: {found}"
            );
        }
    }
}
