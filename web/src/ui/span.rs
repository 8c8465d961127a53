//! Lengths of time that the API counts in seconds, as people type them: in days, hours or minutes.

use std::ops::RangeInclusive;

/// Seconds of a minute, an hour and a day, by the names of the units.
const UNITS: [(&str, u32); 4] = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];

/// How long the API lets something last, and the unit in which that is typed.
pub(crate) struct Span {
    /// One of it, in words.
    unit: &'static str,
    /// One of it, in seconds.
    seconds: u32,
    /// What the API takes, in seconds.
    range: RangeInclusive<u32>,
}

impl Span {
    pub(crate) const fn days(range: RangeInclusive<u32>) -> Self {
        let (unit, seconds) = UNITS[0];
        Self { unit, seconds, range }
    }

    pub(crate) const fn hours(range: RangeInclusive<u32>) -> Self {
        let (unit, seconds) = UNITS[1];
        Self { unit, seconds, range }
    }

    pub(crate) const fn minutes(range: RangeInclusive<u32>) -> Self {
        let (unit, seconds) = UNITS[2];
        Self { unit, seconds, range }
    }

    pub(crate) const fn seconds(range: RangeInclusive<u32>) -> Self {
        let (unit, seconds) = UNITS[3];
        Self { unit, seconds, range }
    }

    /// What stands in the field.
    pub(crate) fn text(&self, seconds: u32) -> String {
        format!("{}", f64::from(seconds) / f64::from(self.seconds))
    }

    /// What was typed, in seconds, or what would be right.
    pub(crate) fn read(&self, text: &str) -> Result<u32, String> {
        let (least, most) = (*self.range.start(), *self.range.end());
        let typed = text.trim().replace(',', ".").parse::<f64>();
        let seconds = typed.map_or(f64::NAN, |n| (n * f64::from(self.seconds)).round());
        if !(f64::from(least)..=f64::from(most)).contains(&seconds) {
            let unit = self.unit;
            return Err(format!(
                "a number of {unit}s, from {} to {}",
                self.bound(least),
                self.bound(most)
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number in the range"
        )]
        Ok(seconds as u32)
    }

    /// An end of the range: a number of the unit, and in words of a smaller one where that is clearer.
    fn bound(&self, seconds: u32) -> String {
        if seconds.is_multiple_of(self.seconds) {
            return (seconds / self.seconds).to_string();
        }
        // Rounded up, so that what it says is in the range.
        let number = (f64::from(seconds) / f64::from(self.seconds) * 10_000.0).ceil() / 10_000.0;
        let whole = UNITS.iter().find(|(_, length)| seconds.is_multiple_of(*length));
        let (unit, count) = whole.map_or(("second", seconds), |(unit, length)| (*unit, seconds / length));
        let plural = if count == 1 { "" } else { "s" };
        format!("{number} ({count} {unit}{plural})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_out_of_range_is_told_in_the_unit_of_the_field() {
        let proof = Span::days(300..=31_536_000);
        let wrong = Err("a number of days, from 0.0035 (5 minutes) to 365".to_owned());
        for text in ["0", "-1", "366", "NaN", "inf", "", "soon", "1e99"] {
            assert_eq!(proof.read(text), wrong, "{text}");
        }
        let hours = Span::hours(60..=2_592_000);
        let wrong = "a number of hours, from 0.0167 (1 minute) to 720";
        assert_eq!(hours.read("721"), Err(wrong.to_owned()));
        let minutes = Span::minutes(60..=86_400);
        assert_eq!(
            minutes.read("0.5"),
            Err("a number of minutes, from 1 to 1440".to_owned())
        );
    }

    #[test]
    fn what_stands_in_a_field_is_read_as_the_same_seconds() {
        for seconds in [60, 90, 100, 300, 3_601, 86_399, 86_400, 2_592_000, 31_536_000] {
            for span in [
                Span::days(60..=31_536_000),
                Span::hours(60..=31_536_000),
                Span::minutes(60..=31_536_000),
            ] {
                assert_eq!(span.read(&span.text(seconds)), Ok(seconds));
            }
        }
        assert_eq!(Span::days(300..=31_536_000).read(" 0,5 "), Ok(43_200));
        assert_eq!(Span::days(300..=31_536_000).read("0.0035"), Ok(302));
    }
}
