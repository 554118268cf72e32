//! Plain scalars and tags of the core schema
//! (<https://yaml.org/spec/1.2.2/#1032-tag-resolution>).

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

/// The value of a scalar; `None` if the tag is foreign, or isn't true of the text.
///
/// Infinities, NaN and numbers beyond the range of a double stay text: JSON, and so Kubernetes, has none.
pub fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Option<Value> {
    let untagged = || match style {
        ScalarStyle::Plain => plain(text),
        _ => Value::String(text.to_owned()),
    };
    let Some(tag) = tag else {
        return Some(untagged());
    };
    if tag.handle.is_empty() && tag.suffix == "!" {
        return Some(Value::String(text.to_owned()));
    }
    if !tag.is_yaml_core_schema() {
        return None;
    }
    let value = plain(text);
    match tag.suffix.as_str() {
        "str" => Some(Value::String(text.to_owned())),
        "null" => value.is_null().then_some(value),
        "bool" => value.is_boolean().then_some(value),
        "int" => (value.is_i64() || value.is_u64()).then_some(value),
        "float" => value.is_number().then_some(value),
        _ => None,
    }
}

/// Whether a collection may carry the tag.
pub fn collection_tag(tag: Option<&Tag>, expected: &str) -> bool {
    tag.is_none_or(|tag| {
        (tag.is_yaml_core_schema() && tag.suffix == expected)
            || (tag.handle.is_empty() && tag.suffix == "!")
    })
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let whole = text
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| text.parse::<i64>().map(Number::from));
        if let Ok(whole) = whole {
            return Some(whole);
        }
    }
    if !is_float(unsigned) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64)
}

fn radix(digits: &str, radix: u32) -> Option<Number> {
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok().map(Number::from)
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("nULL", json!("nULL")),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("+12", json!(12)),
            ("0123", json!(123)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("0x-1", json!("0x-1")),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("1e3", json!(1000.0)),
            ("-1.5E-1", json!(-0.15)),
            (".", json!(".")),
            ("-", json!("-")),
            ("e3", json!("e3")),
            ("1e", json!("1e")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1_000", json!("1_000")),
            (".inf", json!(".inf")),
            (".nan", json!(".nan")),
            ("1e999", json!("1e999")),
            ("2026-01-01T00:00:00Z", json!("2026-01-01T00:00:00Z")),
        ] {
            assert_eq!(plain(text), value, "{text}");
        }
    }
}
