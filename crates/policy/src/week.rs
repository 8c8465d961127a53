//! Windows of time that open every week, compiled to the minutes of a week in UTC.

use wire::{Timestamp, Weekday};

const DAY: usize = 24 * 60;
const WEEK: usize = 7 * DAY;
/// 1970-01-01 was a Thursday: minutes from the Monday before it.
const EPOCH: i64 = 3 * DAY as i64;

/// A set of minutes of the week, from Monday 00:00 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Week(Box<[u64; WEEK.div_ceil(64)]>);

impl Week {
    /// Errors name the field.
    pub(crate) fn compile(
        days: &[Weekday],
        (from, to): (&str, &str),
        offset: i32,
    ) -> Result<Self, (&'static str, &'static str)> {
        const FORM: &str = "a time of day as `HH:MM`";
        let start = clock(from).filter(|m| *m < DAY).ok_or(("from", FORM))?;
        let end = clock(to).ok_or(("to", "a time of day as `HH:MM`, up to `24:00`"))?;
        if start == end {
            return Err(("to", "the window is empty; 00:00 to 24:00 is the whole day"));
        }
        let limit = 14 * 60;
        if !(-limit..=limit).contains(&offset) {
            return Err(("utc_offset_minutes", "from -840 to 840"));
        }
        // Before Monday's midnight is the end of the week before.
        let shift = usize::try_from(i64::from(offset).rem_euclid(WEEK as i64)).unwrap_or_default();
        let length = if end > start {
            end - start
        } else {
            end + DAY - start
        };
        let mut minutes = [0_u64; WEEK.div_ceil(64)];
        for day in (0..7).filter(|day| days.is_empty() || days.iter().any(|d| *d as usize == *day)) {
            for minute in 0..length {
                let at = (day * DAY + start + minute + WEEK - shift) % WEEK;
                minutes[at / 64] |= 1 << (at % 64);
            }
        }
        Ok(Self(Box::new(minutes)))
    }

    pub(crate) fn contains(&self, moment: Timestamp) -> bool {
        let minute = (moment.seconds().div_euclid(60) + EPOCH).rem_euclid(WEEK as i64);
        let minute = usize::try_from(minute).unwrap_or_default();
        self.0[minute / 64] >> (minute % 64) & 1 == 1
    }

    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(a, b)| a & !b == 0)
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).any(|(a, b)| a & b != 0)
    }
}

/// Minutes since midnight of `HH:MM`, up to 24:00.
fn clock(text: &str) -> Option<usize> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str| {
        let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse::<usize>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Weekday::{Fri, Mon, Sun};

    fn is_in(days: &[Weekday], times: (&str, &str), offset: i32, moment: &str) -> bool {
        let week = Week::compile(days, times, offset).unwrap();
        week.contains(Timestamp::parse(moment).unwrap())
    }

    #[test]
    fn a_window_opens_on_its_days_in_its_offset() {
        // 2026-11-20 was a Friday.
        for (days, times, offset, moment, expected) in [
            (&[Fri][..], ("09:00", "17:00"), 0, "2026-11-20T09:00:00Z", true),
            (&[Fri], ("09:00", "17:00"), 0, "2026-11-20T16:59:59.999999Z", true),
            (&[Fri], ("09:00", "17:00"), 0, "2026-11-20T17:00:00Z", false),
            (&[Fri], ("09:00", "17:00"), 0, "2026-11-20T08:59:59Z", false),
            (&[Mon], ("09:00", "17:00"), 0, "2026-11-20T10:00:00Z", false),
            (&[], ("09:00", "17:00"), 0, "2026-11-22T10:00:00Z", true),
            // UTC+02:00: opens at 07:00 UTC.
            (&[Fri], ("09:00", "17:00"), 120, "2026-11-20T07:00:00Z", true),
            (&[Fri], ("09:00", "17:00"), 120, "2026-11-20T15:00:00Z", false),
            // UTC-05:00.
            (&[Fri], ("20:00", "24:00"), -300, "2026-11-21T04:59:00Z", true),
            (&[Fri], ("20:00", "24:00"), -300, "2026-11-21T05:00:00Z", false),
            // Past midnight, and past the end of the week.
            (&[Fri], ("22:00", "06:00"), 0, "2026-11-21T05:59:00Z", true),
            (&[Fri], ("22:00", "06:00"), 0, "2026-11-20T05:59:00Z", false),
            (&[Sun], ("22:00", "06:00"), 0, "2026-11-23T05:00:00Z", true),
            (&[Mon], ("00:00", "02:00"), 180, "2026-11-22T21:30:00Z", true),
            (&[], ("00:00", "24:00"), 0, "1969-12-31T23:59:59Z", true),
        ] {
            assert_eq!(
                is_in(days, times, offset, moment),
                expected,
                "{days:?} {times:?} {offset} {moment}"
            );
        }
    }

    #[test]
    fn windows_that_say_nothing_are_refused() {
        for (times, offset, field) in [
            (("9:00", "17:00"), 0, "from"),
            (("24:00", "17:00"), 0, "from"),
            (("09:60", "17:00"), 0, "from"),
            (("09:00", "24:01"), 0, "to"),
            (("09:00", "-1:00"), 0, "to"),
            (("09:00", "09:00"), 0, "to"),
            (("09:00", "17:00"), 841, "utc_offset_minutes"),
        ] {
            assert_eq!(
                Week::compile(&[], times, offset).unwrap_err().0,
                field,
                "{times:?}"
            );
        }
    }
}
