//! Values as programs in Go write and read them.

use std::time::Duration;

/// The words that Go takes for true and false (`strconv.ParseBool`).
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A duration such as `1h30m`, `1.5s` or `0` (`time.ParseDuration`), or a whole number of nanoseconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no duration; write 30s or 1m30s");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Duration::from_nanos).map_err(|_| refused());
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, behind) = rest.split_at(digits);
        let unit_len = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_len);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refused()),
        };
        seconds += number.parse::<f64>().map_err(|_| refused())? * factor;
        rest = behind;
    }
    if text.is_empty() {
        return Err(refused());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go_and_nanoseconds() {
        for (text, ms) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("1h", 3_600_000),
            ("0", 0),
            ("0s", 0),
            ("30000000000", 30_000),
            ("1500us", 1),
            ("1h0m0.5s", 3_600_500),
        ] {
            assert_eq!(parse_duration(text).map(|it| it.as_millis()), Ok(ms), "{text}");
        }
        for text in ["", "s", "5", "30 s", "-1s", "1d", "1s5", "..s", "1e3s"] {
            assert_eq!(parse_duration(text).is_err(), text != "5", "{text}");
        }
    }

    #[test]
    fn a_word_that_go_takes_for_no_bool_is_refused() {
        assert_eq!([parse_bool("T"), parse_bool("0")], [Ok(true), Ok(false)]);
        for text in ["", "yes", "on", "tRUE"] {
            assert!(parse_bool(text).is_err(), "{text}");
        }
    }
}
