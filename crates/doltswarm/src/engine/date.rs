//! Commit dates: seconds since 1970 to and from the engine's texts.

use crate::engine::{EngineError, EngineResult};

const DAY: i64 = 86_400;

/// The dates the engine can write: the years 1 to 9999.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

/// Writes `seconds` as `2026-01-01T00:00:00Z`.
pub(crate) fn format(seconds: i64) -> EngineResult<String> {
    if !SECONDS.contains(&seconds) {
        let message = format!("the commit's date ({seconds} s) is not in the years 1 to 9999");
        return Err(EngineError::Rejected { message });
    }
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Reads `2026-01-01 00:00:00`.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let mut parts = text.splitn(6, ['-', ' ', ':']).map(str::parse::<i64>);
    let mut next = || parts.next()?.ok();
    let (year, month, day) = (next()?, next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    Some(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

/// The Gregorian date of a day counted from 1970-01-01. Years begin in March here, so that the day
/// that leap years add is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_month)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(format(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(format(1_709_210_096).unwrap(), "2024-02-29T12:34:56Z");
        assert_eq!(format(SECONDS.end - 1).unwrap(), "9999-12-31T23:59:59Z");
        assert!(format(SECONDS.end).is_err());
        assert_eq!(parse("2024-02-29 12:34:56"), Some(1_709_210_096));
        assert_eq!(parse("soon"), None);
    }

    proptest::proptest! {
        #[test]
        fn reading_undoes_writing(seconds in SECONDS) {
            let text = format(seconds).unwrap().replace('T', " ");
            proptest::prop_assert_eq!(parse(text.trim_end_matches('Z')), Some(seconds));
        }
    }
}
