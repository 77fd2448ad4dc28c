//! Durations as people write them: `500ms`, `30s`, `10m`, `12h`, `7d`, `2w`.

use std::time::Duration;

/// The units, with their length in milliseconds. `ms` stands before `m` and `s`, its suffixes.
const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Reads a whole number with a unit; without one it is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "" => Some(1_000),
        _ => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis),
    };
    let wrong = || format!("`{text}` is not a duration: write for example 500ms, 30s, 10m or 7d");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = millis.and_then(|millis| millis.checked_mul(number)).ok_or_else(wrong)?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nonsense_is_refused() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1y",
            "1 s",
            "é",
            "99999999999999999999s",
            "99999999999999999w",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
