//! How everything that runs writes its log.

use clap::Args;

use super::LogFormat;

/// What is written to stderr, and how.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How log lines are written to stderr
    #[arg(
        long,
        value_name = "FORMAT",
        env = "SEALANE_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,

    /// error, warn, info, debug, trace or off; per module as in info,sealane::capture=debug. At info come one line
    /// per connection (sealane::access) and, of the CA, one per certificate; its refusals come at warn
    #[arg(
        long,
        value_name = "LEVEL",
        env = "SEALANE_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
}
