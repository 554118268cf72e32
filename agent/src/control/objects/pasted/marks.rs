//! What stands within lines: numbers and bullets before them, spaces and quotes that only look like such.

use super::{begins_object, each_line};

/// Spaces that YAML doesn't take for such, and marks without width.
pub fn spaces(text: &str) -> Option<(usize, String)> {
    let is_space = |c| matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{3000}');
    let is_nothing = |c| matches!(c, '\u{200b}' | '\u{2060}');
    if text.is_ascii() || !text.contains(|c| is_space(c) || is_nothing(c)) {
        return None;
    }
    each_line(text, |line| {
        let odd = line.contains(|c| is_space(c) || is_nothing(c));
        odd.then(|| {
            let shown = line.chars().filter(|c| !is_nothing(*c));
            shown.map(|c| if is_space(c) { ' ' } else { c }).collect()
        })
    })
}

/// `1. apiVersion: …`, `2. kind: …`: numbers before all lines, one after the other.
pub fn numbers(text: &str) -> Option<(usize, String)> {
    let said = || text.lines().filter(|line| !line.trim().is_empty());
    let (first, _) = number(said().next()?)?;
    let mut numbered = said().zip(first..);
    let all = numbered.all(|(line, n)| number(line).is_some_and(|(found, _)| found == n));
    let contents = said().filter_map(number).map(|(_, content)| content);
    if !all || !contents.into_iter().any(begins_object) {
        return None;
    }
    each_line(text, |line| {
        number(line).map(|(_, content)| content.to_owned())
    })
}

/// `mtls-strict.yaml` on a line of its own, as pages show it above what is in the file.
pub fn caption(text: &str) -> Option<(usize, String)> {
    let first = text.lines().find(|line| !line.trim().is_empty())?;
    let name = first.trim().trim_end_matches(':');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let is_file = [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
    if !is_file || !name.bytes().all(plain) || !text.contains("apiVersion") {
        return None;
    }
    let mut found = false;
    each_line(text, |line| {
        (!found && !line.trim().is_empty()).then(|| {
            found = true;
            String::new()
        })
    })
}

/// A column of numbers alone before the document: those of its lines.
pub fn column(text: &str) -> Option<(usize, String)> {
    let said = || text.lines().filter(|line| !line.trim().is_empty());
    let counted = said().zip(1..);
    let mut left = counted
        .take_while(|(line, n)| line.trim() == n.to_string())
        .count();
    let follows = said().nth(left).map(str::trim)?;
    if left < 2 || !(begins_object(follows) || follows.starts_with("---")) {
        return None;
    }
    each_line(text, |line| {
        (left > 0 && !line.trim().is_empty()).then(|| {
            left -= 1;
            String::new()
        })
    })
}

/// The number before a line, and the line without it.
fn number(line: &str) -> Option<(usize, &str)> {
    let (digits, content) = line.trim_start().split_once('.')?;
    let number = digits.parse().ok().filter(|_| digits.len() <= 4)?;
    let content = match content.strip_prefix(' ') {
        Some(content) => content,
        None if content.is_empty() => content,
        None => return None,
    };
    Some((number, content))
}

/// `• apiVersion: …`: a mark of a list before the first line alone. What follows may be indented as the first line is
/// without it.
pub fn bullet(text: &str) -> Option<(usize, String)> {
    let mut said = text.lines().filter(|line| !line.trim().is_empty());
    let first = said.next()?;
    let begin = first.trim_start();
    let (mark, content) = begin.split_once(' ')?;
    let number = mark.strip_suffix('.').or_else(|| mark.strip_suffix(')'));
    let is_number = number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()) && !n.is_empty());
    let is_mark = is_number || matches!(mark, "•" | "*" | "‣" | "◦" | "·" | "–" | "o");
    if !is_mark || !begins_object(content.trim_start()) {
        return None;
    }
    let next = said.next().unwrap_or_default();
    let indentation = next.chars().count() - next.trim_start().chars().count();
    let mut changed = false;
    each_line(text, |line| {
        (!changed && !line.trim().is_empty()).then(|| {
            changed = true;
            format!("{:indentation$}{}", "", content.trim_start())
        })
    })
}

/// `“x”` where YAML has `"x"`, on lines without quotes of its own.
pub fn quotes(text: &str) -> Option<(usize, String)> {
    let of = |line: &str, open: &[char], all: &[char], plain: char| {
        let quoted = |at: usize| {
            let before = line.get(..at).unwrap_or_default().trim_start();
            let opens = [": ", "- ", "[", ", ", ",", "{"];
            let is_key = before.is_empty() && ["”:", "’:"].iter().any(|end| line.contains(end));
            is_key || opens.iter().any(|end| before.ends_with(end))
        };
        let at = line.find(open)?;
        let even = line.matches(all).count().is_multiple_of(2);
        (even && quoted(at) && !line.contains(plain)).then(|| line.replace(all, &plain.to_string()))
    };
    if text.is_ascii() || !text.contains(['“', '”', '‘', '’', '„']) {
        return None;
    }
    each_line(text, |line| {
        let double = of(line, &['“', '”', '„'], &['“', '”', '„'], '"');
        let single = of(
            double.as_deref().unwrap_or(line),
            &['‘', '’'],
            &['‘', '’'],
            '\'',
        );
        single.or(double)
    })
}
