//! Arguments that can't be read: what is said of them.

use std::ffi::OsString;

/// Whether arguments that can't be read ask for answers as JSON all the same.
pub fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let mut arguments = arguments
        .into_iter()
        .take_while(|argument| argument != "--");
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy();
        let format = match &*argument {
            "-o" | "--output" => arguments.next(),
            joined => {
                let short = || {
                    joined
                        .strip_prefix("-o")
                        .map(|value| value.trim_start_matches('='))
                };
                let value = joined.strip_prefix("--output=").or_else(short);
                value.map(OsString::from)
            }
        };
        if format.is_some_and(|format| format == "json") {
            return true;
        }
    }
    false
}

/// What is wrong with arguments, without how they are to be used.
#[must_use]
pub fn complaint(error: &clap::Error) -> String {
    let text = error.to_string();
    let end = text.find("\n\n").unwrap_or(text.len());
    let said = text.get(..end).unwrap_or_default().trim();
    said.strip_prefix("error: ").unwrap_or(said).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn json_is_asked_for_also_where_the_rest_makes_no_sense() {
        let asks = |line: &str| asks_for_json(line.split(' ').map(OsString::from));
        for line in [
            "explain -o json",
            "tls-check -ojson --nonsense",
            "policy lint -o=json",
            "certs --output json extra",
            "flows --last --output=json",
        ] {
            assert!(asks(line), "{line}");
        }
        for line in [
            "explain",
            "explain json -o table",
            "explain -- -o json",
            "status -o",
            "agent --log-format json",
        ] {
            assert!(!asks(line), "{line}");
        }
    }

    #[test]
    fn complaints_are_what_is_wrong_and_no_more() {
        let complaint = |line: &str| complaint(&Cli::try_parse_from(line.split(' ')).unwrap_err());
        assert_eq!(
            complaint("sealane status --sockt x"),
            "unexpected argument '--sockt' found"
        );
        let missing = complaint("sealane explain");
        assert!(
            missing.contains("<CLIENT>") && !missing.contains("Usage"),
            "{missing}"
        );
    }
}
