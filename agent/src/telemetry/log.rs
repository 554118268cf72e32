//! Log lines to stderr, for people or as JSON.

use std::io;

use tracing_subscriber::{
    Layer, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt, util::TryInitError,
};

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
/// When logging was started before.
pub fn init(config: &LogConfig) -> Result<(), TryInitError> {
    let lines = fmt::layer().with_writer(io::stderr);
    let layer = match config.format {
        LogFormat::Text => lines
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
