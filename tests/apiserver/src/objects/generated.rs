//! Values that the server makes up: times, identifiers, names.

use jiff::{Timestamp, Unit};

/// Now, as the API writes times.
pub fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

/// Random, version 4.
pub fn uid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0xc << 60) | (0x4 << 76) | (0x8 << 60);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// As `generateName` is completed: without vowels and what looks alike.
pub fn suffix() -> String {
    let alphabet = "bcdfghjklmnpqrstvwxz2456789";
    let letters: Vec<char> = alphabet.chars().collect();
    (0..5)
        .filter_map(|_| fastrand::choice(letters.iter()))
        .collect()
}
