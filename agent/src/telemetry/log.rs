//! Log lines to stderr, for people or as JSON.

use std::{fmt::Debug, io};

use tracing::field::Field;
use tracing_subscriber::{
    Layer,
    field::MakeExt as _,
    fmt::{
        self,
        format::{Writer, debug_fn},
    },
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
    util::TryInitError,
};

use crate::{
    config::{LogConfig, LogFormat},
    control::escaped,
};

/// Starts logging for the whole process.
///
/// # Errors
/// When logging was started before.
pub fn init(config: &LogConfig) -> Result<(), TryInitError> {
    let lines = fmt::layer().with_writer(io::stderr);
    let layer = match config.format {
        LogFormat::Text => lines
            .fmt_fields(debug_fn(write).delimited(" "))
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
    };
    registry()
        .with(layer.with_filter(config.filter.clone()))
        .try_init()
}

/// As tracing-subscriber does, and whatever anybody has said stays on its line.
fn write(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let text = format!("{value:?}");
    let text = escaped(&text);
    match field.name() {
        "message" => writer.write_str(&text),
        // Where a line of the `log` crate is from, which is in its metadata already.
        name if name.starts_with("log.") => Ok(()),
        name if writer.has_ansi_escapes() => {
            write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}")
        }
        name => write!(writer, "{name}={text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::Arc};

    use super::*;

    #[test]
    fn nobody_begins_a_line_by_what_is_logged_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(File::create(file.path()).unwrap());
        let layer = fmt::layer()
            .fmt_fields(debug_fn(write).delimited(" "))
            .with_ansi(false)
            .with_writer(writer);
        tracing::subscriber::with_default(registry().with(layer), || {
            let asked = "spiffe://x/\n2026 INFO forged\0\x1b[2J\u{2028}";
            tracing::info!(caller = %asked, quoted = asked, number = 7, "refused: {asked}");
        });
        let lines = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        let told = r"refused: spiffe://x/\n2026 INFO forged\u{0}\u{1b}[2J\u{2028} caller=spiffe://x/\n2026";
        assert!(lines.contains(told), "{lines}");
        assert!(lines.contains("number=7"), "{lines}");
        assert!(!lines.contains(['\0', '\x1b']), "{lines:?}");
    }
}
