//! Lines around documents: the shell's command and the end of its here-document, fences of Markdown.

use super::{begins_object, each_line};

/// Commands that objects are given to, and what they do with them when they put them into a cluster.
const TOOLS: [&str; 4] = ["istioctl", "k", "kubectl", "oc"];
const CREATING: [&str; 3] = ["apply", "create", "replace"];
/// Commands that hand on what they are given.
const WRITING: [&str; 2] = ["cat", "tee"];

/// Words at which here-documents usually end.
const ENDS: [&str; 4] = ["EOF", "EOT", "END", "YAML"];

/// What begins documents that a command puts into a namespace, if they don't say one themselves.
pub const INTO: &str = "--- # kubectl --namespace ";

/// `kubectl apply -f - <<EOF`, documents, `EOF`. Each begins a document, and nothing else counts.
pub fn here_documents(text: &str) -> Option<(usize, String)> {
    if !text.contains("<<") || !closed(text) {
        return None;
    }
    let mut within: Option<HereDocument<'_>> = None;
    each_line(text, |line| match &within {
        None => {
            within = HereDocument::of(line);
            within.as_ref().map(HereDocument::begin)
        }
        Some(document) if line.trim() == document.end => {
            within = None;
            Some(String::new())
        }
        Some(document) => (line.trim_end() == "---").then(|| document.begin()),
    })
}

/// Whether each here-document has its end, and all that is said is in one.
fn closed(text: &str) -> bool {
    let mut end = None;
    for line in text.lines() {
        match end {
            None if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
            None => match HereDocument::of(line) {
                Some(document) => end = Some(document.end),
                None => return false,
            },
            Some(delimiter) if line.trim() == delimiter => end = None,
            Some(_) => {}
        }
    }
    end.is_none()
}

/// What a command is given.
struct HereDocument<'t> {
    /// The word at which it ends.
    end: &'t str,
    namespace: Option<&'t str>,
}

impl<'t> HereDocument<'t> {
    /// One that begins on this line, for a command that puts objects where they are not.
    fn of(line: &'t str) -> Option<Self> {
        let line = line.trim_start();
        let command = line
            .strip_prefix("$ ")
            .or_else(|| line.strip_prefix("# "))
            .unwrap_or(line);
        let (before, rest) = command.split_once("<<")?;
        let name = before.split_whitespace().next()?;
        let word = rest.trim_start_matches('-').trim_start();
        let word = word.split([' ', '|', ';', ')']).next()?;
        let end = word.trim_matches(['"', '\'']);
        let words = || command.split(|c: char| c.is_whitespace() || c == '|');
        let has_tool = words().any(|word| TOOLS.contains(&word));
        let creates = words().any(|word| CREATING.contains(&word));
        let is_known = TOOLS.contains(&name) || WRITING.contains(&name);
        let is_tried = words().any(|word| word.starts_with("--dry-run"));
        let is_read = is_known && !end.is_empty() && !is_tried && (creates || !has_tool);
        let namespace = namespace(words());
        // Not `$NAMESPACE`: nobody knows where that is.
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (is_read && namespace.is_none_or(is_name)).then_some(Self { end, namespace })
    }

    fn begin(&self) -> String {
        match self.namespace {
            Some(namespace) => format!("{INTO}{namespace}"),
            None => "---".to_owned(),
        }
    }
}

/// `-n shop`, `-nshop`, `--namespace shop` or `--namespace=shop`.
fn namespace<'t>(words: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    let mut words = words.filter(|word| !word.is_empty());
    words
        .find_map(|word| word.strip_prefix("--namespace").or(word.strip_prefix("-n")))
        .and_then(|rest| match rest.strip_prefix('=').unwrap_or(rest) {
            "" => words.next(),
            attached => Some(attached),
        })
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
