//! Lines around documents: the shell's command and the end of its here-document, fences of Markdown.

use super::{begins_object, each_line};

/// Commands that people give documents to.
const COMMANDS: [&str; 6] = ["cat", "istioctl", "k", "kubectl", "oc", "tee"];

/// Words at which here-documents usually end.
const ENDS: [&str; 4] = ["EOF", "EOT", "END", "YAML"];

/// `kubectl apply -f - <<EOF`, documents, `EOF`. Each begins a document, and nothing else counts.
pub fn here_documents(text: &str) -> Option<(usize, String)> {
    if !text.contains("<<") || !closed(text) {
        return None;
    }
    let mut end = None;
    each_line(text, |line| match end {
        None => {
            end = delimiter(line);
            end.is_some().then(|| "---".to_owned())
        }
        Some(delimiter) if line.trim() == delimiter => {
            end = None;
            Some(String::new())
        }
        Some(_) => None,
    })
}

/// Whether each here-document has its end, and all that is said is in one.
fn closed(text: &str) -> bool {
    let mut end = None;
    for line in text.lines() {
        match end {
            None if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
            None => match delimiter(line) {
                Some(delimiter) => end = Some(delimiter),
                None => return false,
            },
            Some(delimiter) if line.trim() == delimiter => end = None,
            Some(_) => {}
        }
    }
    end.is_none()
}

/// The word at which a here-document that begins on this line ends.
fn delimiter(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let command = line
        .strip_prefix("$ ")
        .or_else(|| line.strip_prefix("# "))
        .unwrap_or(line);
    let name = command.split_whitespace().next()?;
    let (_, rest) = command
        .split_once("<<")
        .filter(|_| COMMANDS.contains(&name))?;
    let word = rest.trim_start_matches('-').trim_start();
    let word = word.split([' ', '|', ';', ')']).next()?;
    Some(word.trim_matches(['"', '\''])).filter(|word| !word.is_empty())
}

/// `EOF` whose beginning was not copied: at the end, or where the next document begins.
pub fn lone_ends(text: &str) -> Option<(usize, String)> {
    if text.contains("<<") || !ENDS.iter().any(|end| text.contains(end)) {
        return None;
    }
    let mut rest = text.lines();
    each_line(text, |line| {
        rest.next();
        if !ENDS.contains(&line.trim_end()) {
            return None;
        }
        match rest.clone().find(|next| !next.trim().is_empty()) {
            None => Some(String::new()),
            Some(next) if begins_object(next) || next.starts_with("---") => Some("---".to_owned()),
            Some(_) => None,
        }
    })
}

/// Lines of three backticks, when there is one before the first document.
pub fn fences(text: &str) -> Option<(usize, String)> {
    let is_fence = |line: &str| line.trim_start().starts_with("```");
    let mut said = text.lines().filter(|line| !line.trim().is_empty());
    let first = said.next()?;
    let second = said.next().unwrap_or_default().trim();
    if !is_fence(first) || !(begins_object(second) || second.starts_with("---")) {
        return None;
    }
    let mut inside = false;
    each_line(text, |line| {
        is_fence(line).then(|| {
            inside = !inside;
            if inside { "---" } else { "" }.to_owned()
        })
    })
}
