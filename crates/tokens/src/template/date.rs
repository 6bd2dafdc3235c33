//! `strftime` as chat templates use it: a few directives, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time that it is, written so.
pub(super) fn strftime_now(format: &str) -> String {
    strftime(format, now_seconds())
}

fn now_seconds() -> u64 {
    // A clock before 1970 is wrong anyway; templates only want a date to show.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The few directives that chat templates use, in UTC; others are left as they are.
fn strftime(format: &str, seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let name = MONTHS[month - 1];
    [
        ("%Y", year.to_string()),
        ("%m", format!("{month:02}")),
        ("%d", format!("{day:02}")),
        ("%B", name.to_owned()),
        ("%b", name[..3].to_owned()),
        ("%H", format!("{:02}", of_day / 3_600)),
        ("%M", format!("{:02}", of_day / 60 % 60)),
        ("%S", format!("{:02}", of_day % 60)),
    ]
    .iter()
    .fold(format.to_owned(), |text, (directive, value)| text.replace(directive, value))
}

/// Year, month and day of a day counted from 1970 (Howard Hinnant's `civil_from_days`, years from March).
fn civil_date(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_as_strftime_does() {
        assert_eq!(strftime("%d %b %Y", 1_709_164_800), "29 Feb 2024");
        assert_eq!(strftime("%Y-%m-%d %H:%M:%S, %B", 951_868_799), "2000-02-29 23:59:59, February");
        assert_eq!(strftime("%d %b %Y", 0), "01 Jan 1970");
    }
}
