//! Counts, sizes and durations, each between two bounds.

use std::fmt;
use std::time::Duration;

use crate::form::{Form, Shape};

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A whole number.
pub(crate) struct Count {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl Form for Count {
    type Value = usize;
    const VALUE_NAME: &'static str = "N";
    const SHAPE: Shape = Shape::Number;

    fn parse(&self, text: &str) -> Result<usize, String> {
        let count = parse_digits(text).ok_or_else(|| format!("{text:?} is not a whole number"))?;
        check_bounds(text, count, self.min, self.max, |bound| bound)?;
        Ok(count)
    }

    fn show(&self, value: &usize) -> String {
        value.to_string()
    }

    fn describe(&self) -> String {
        format!("a number from {} to {}", self.min, self.max)
    }
}

/// The permissions of a file, in octal digits.
pub(crate) struct FileMode;

impl Form for FileMode {
    type Value = u32;
    const VALUE_NAME: &'static str = "MODE";

    fn parse(&self, text: &str) -> Result<u32, String> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && text.len() >= 3);
        mode.ok_or_else(|| format!("{text:?} is not the mode of a file; write three octal digits, such as 660"))
    }

    fn show(&self, value: &u32) -> String {
        format!("{value:03o}")
    }

    fn describe(&self) -> String {
        "three octal digits".to_owned()
    }
}

/// A number of bytes, with or without a binary unit.
pub(crate) struct Size {
    pub(crate) min: usize,
    pub(crate) max: usize,
}

impl Form for Size {
    type Value = usize;
    const VALUE_NAME: &'static str = "SIZE";
    const SHAPE: Shape = Shape::TextOrNumber;

    fn parse(&self, text: &str) -> Result<usize, String> {
        let unit =
            UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor as usize)));
        let (digits, factor) = unit.unwrap_or((text, 1));
        let number = parse_digits(digits)
            .ok_or_else(|| format!("{text:?} is not a size; write bytes, or a whole number of KiB, MiB or GiB"))?;
        // Saturating leads to the bounds' message, which is the right one for a number that large.
        let bytes = number.saturating_mul(factor);
        check_bounds(text, bytes, self.min, self.max, |bound| show_size(bound as u64))?;
        Ok(bytes)
    }

    fn show(&self, value: &usize) -> String {
        show_size(*value as u64)
    }

    fn describe(&self) -> String {
        format!("a size from {} to {}", show_size(self.min as u64), show_size(self.max as u64))
    }
}

/// A length of time, always with its unit.
pub(crate) struct Time {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Form for Time {
    type Value = Duration;
    const VALUE_NAME: &'static str = "DURATION";

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let duration = humantime::parse_duration(text).map_err(|_| {
            format!("{text:?} is not a duration; write a number with its unit, such as 500ms, 15s or 5m")
        })?;
        check_bounds(text, duration, self.min, self.max, humantime::format_duration)?;
        Ok(duration)
    }

    fn show(&self, value: &Duration) -> String {
        humantime::format_duration(*value).to_string()
    }

    fn describe(&self) -> String {
        format!("a duration from {} to {}", self.show(&self.min), self.show(&self.max))
    }
}

/// Reads a duration of a command that is no node, by the rules and in the words of the settings.
pub fn parse_duration(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    Time { min, max }.parse(text)
}

/// The largest unit that divides the size, so that a shown size can be written back.
fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

/// The number parser of the standard library accepts a leading plus, which is a typing error here. A number that is too
/// large for this machine becomes the largest, which no bound allows.
fn parse_digits(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

fn check_bounds<T, S>(text: &str, value: T, min: T, max: T, show: impl Fn(T) -> S) -> Result<(), String>
where
    T: PartialOrd + Copy,
    S: fmt::Display,
{
    if value < min {
        Err(format!("{text:?} is too small; the least is {}", show(min)))
    } else if value > max {
        Err(format!("{text:?} is too large; the most is {}", show(max)))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn size(text: &str, min: usize, max: usize) -> Result<usize, String> {
        Size { min, max }.parse(text)
    }

    #[test]
    fn sizes_are_bytes_or_whole_binary_units() {
        let accepted = [("0", 0), ("4096", 4096), ("64KiB", 65536), ("1 MiB", 1 << 20), ("2GiB", 2 << 30)];
        for (text, bytes) in accepted {
            assert_eq!(size(text, 0, 4 << 30), Ok(bytes), "{text}");
        }
        let refused = ["", "KiB", "1KB", "1kib", "64K", "1.5MiB", "-1", "+1", "0x10", "1 000"];
        for text in refused {
            assert!(size(text, 0, 4 << 30).unwrap_err().contains("is not a size"), "{text}");
        }
        for text in ["18446744073709551615GiB", "99999999999999999999"] {
            assert!(size(text, 0, 4 << 30).unwrap_err().contains("the most is 4GiB"), "{text}");
        }
        assert!(size("1", 1024, 4096).unwrap_err().contains("the least is 1KiB"));
    }

    #[test]
    fn a_number_that_is_shown_can_be_written_back() {
        let form = Size { min: 0, max: usize::MAX };
        for bytes in [0, 1, 1023, 1024, 1536, 65536, 1 << 20, 3 << 29, 1 << 30] {
            assert_eq!(form.parse(&form.show(&bytes)), Ok(bytes));
        }
        let form = Time { min: Duration::ZERO, max: Duration::MAX };
        for millis in [0, 10, 999, 1500, 60_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(form.parse(&form.show(&duration)), Ok(duration));
        }
    }

    #[test]
    fn durations_need_a_unit_and_stay_within_their_bounds() {
        let form = Time { min: Duration::from_millis(10), max: Duration::from_hours(1) };
        let accepted = [("10ms", 10), ("15s", 15_000), ("1m 30s", 90_000), ("1h", 3_600_000)];
        for (text, millis) in accepted {
            assert_eq!(form.parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "15", "15 parsecs", "s", "-1s"] {
            assert!(form.parse(text).unwrap_err().contains("is not a duration"), "{text}");
        }
        assert!(form.parse("9ms").unwrap_err().contains("the least is 10ms"));
        assert!(form.parse("61m").unwrap_err().contains("the most is 1h"));
    }
}
