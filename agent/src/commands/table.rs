//! Tables for people: ruled on a terminal, plain columns elsewhere.

use std::io::{self, IsTerminal};

use comfy_table::{Table, presets};
use jiff::{SignedDuration, Timestamp, Unit};

/// What stands for a value that isn't known.
pub(super) const ABSENT: &str = "-";

/// A table with a header, as text.
pub(super) fn render(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(if io::stdout().is_terminal() {
        presets::UTF8_HORIZONTAL_ONLY
    } else {
        presets::NOTHING
    });
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

pub(super) fn or_absent(value: Option<&str>) -> String {
    value.unwrap_or(ABSENT).to_owned()
}

/// `in 5h 12m`, `3m 4s ago`: the two largest units.
pub(super) fn relative(time: Timestamp, now: Timestamp) -> String {
    let distance = time.duration_since(now);
    let text = duration(distance.abs());
    if distance.is_negative() {
        format!("{text} ago")
    } else {
        format!("in {text}")
    }
}

pub(super) fn duration(duration: SignedDuration) -> String {
    let whole = |unit: i64| duration.as_secs() / unit;
    match duration.as_secs() {
        0..=59 => format!("{}s", whole(1)),
        60..=3_599 => format!("{}m {}s", whole(60), whole(1) % 60),
        3_600..=86_399 => format!("{}h {}m", whole(3_600), whole(60) % 60),
        _ => format!("{}d {}h", whole(86_400), whole(3_600) % 24),
    }
}

/// To the second, in UTC.
pub(super) fn instant(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

/// Binary prefixes, as `ls -h` has them.
pub(super) fn bytes(count: u64) -> String {
    const PREFIXES: [&str; 5] = ["Ki", "Mi", "Gi", "Ti", "Pi"];
    let mut scaled = count as f64;
    let mut prefix = None;
    for next in PREFIXES {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        prefix = Some(next);
    }
    prefix.map_or_else(|| format!("{count}B"), |p| format!("{scaled:.1}{p}B"))
}
