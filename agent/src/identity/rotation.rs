//! When an SVID is renewed.

use std::time::{Duration, SystemTime};

/// How pressing a renewal is; the most urgent are asked for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing valid is held: traffic is refused meanwhile.
    Missing,
    /// Less than a tenth of the life is left.
    Expiring,
    /// Past its refresh time.
    Due,
    /// Not yet.
    Fresh,
}

/// A point between half and five eighths of the life, so that certificates issued together are not all renewed
/// together, and three eighths are left whenever the CA goes away. `random` is uniform in `0.0..1.0`.
#[must_use]
pub fn refresh_at(not_before: SystemTime, not_after: SystemTime, random: f64) -> SystemTime {
    let life = not_after
        .duration_since(not_before)
        .unwrap_or(Duration::ZERO);
    not_before + life.mul_f64(0.5 + 0.125 * random.clamp(0.0, 1.0))
}

/// How urgent a renewal is at `now`.
#[must_use]
pub fn urgency(
    not_before: SystemTime,
    not_after: SystemTime,
    refresh: SystemTime,
    now: SystemTime,
) -> Urgency {
    let life = not_after
        .duration_since(not_before)
        .unwrap_or(Duration::ZERO);
    match not_after.duration_since(now) {
        Err(_) => Urgency::Missing,
        Ok(left) if left < life / 10 => Urgency::Expiring,
        Ok(_) if now >= refresh => Urgency::Due,
        Ok(_) => Urgency::Fresh,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_lies_after_half_life_and_well_before_the_end() {
        let start = SystemTime::UNIX_EPOCH;
        let end = start + Duration::from_secs(86_400);
        assert_eq!(
            refresh_at(start, end, 0.0),
            start + Duration::from_secs(43_200)
        );
        assert_eq!(
            refresh_at(start, end, 1.0),
            start + Duration::from_secs(54_000)
        );
    }

    #[test]
    fn urgency_grows_with_time() {
        let start = SystemTime::UNIX_EPOCH;
        let at = |s| start + Duration::from_secs(s);
        let of = |now| urgency(start, at(1000), at(500), at(now));
        assert_eq!(of(499), Urgency::Fresh);
        assert_eq!(of(500), Urgency::Due);
        assert_eq!(of(901), Urgency::Expiring);
        assert_eq!(of(1001), Urgency::Missing);
        assert!(Urgency::Missing < Urgency::Expiring && Urgency::Expiring < Urgency::Due);
    }
}
