//! Changes as people write them: `300s:leave:3`, `600s:join`, `60s:slow=2:1`, `0s:lose-events=0.1:2`.

use std::time::Duration;

use super::{Change, Happening};

/// Text that is no change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    /// It has no time that can be read.
    #[error("'{0}' is no time; hint: write it as 90s, 5m or 250ms")]
    Time(String),
    /// Nobody knows what should happen.
    #[error("'{0}' cannot happen to a worker; hint: {KNOWN}")]
    Happening(String),
    /// The number after `=` makes no sense.
    #[error("'{text}' is no {what}; hint: {hint}")]
    Amount {
        /// What was given.
        text: String,
        /// What it should be.
        what: &'static str,
        /// What would do.
        hint: &'static str,
    },
    /// It is not said to which worker it happens, or it is.
    #[error("'{0}' is no worker's number; hint: write it as 300s:leave:3, and 600s:join without a number")]
    Worker(String),
    /// There is no such worker at that time.
    #[error(
        "'{change}' is about a worker that is not there; hint: workers are numbered from 0 to {last} by then"
    )]
    Nobody {
        /// The change.
        change: String,
        /// The last worker there is.
        last: usize,
    },
}

const KNOWN: &str = "join, drain, leave, restart, slow=FACTOR or lose-events=SHARE";

/// The changes in order of time, with numbers given to the workers that join.
///
/// # Errors
/// If a text is no change, or is about a worker that is not there at its time.
pub fn parse_all<T: AsRef<str>>(texts: &[T], workers: usize) -> Result<Vec<Change>, BadChange> {
    let mut changes = Vec::new();
    for text in texts {
        changes.push((text.as_ref(), parse(text.as_ref())?));
    }
    // Stable: what is said first happens first.
    changes.sort_by_key(|(_, change)| change.at);
    let mut there = workers;
    for (text, change) in &mut changes {
        if change.happening == Happening::Join {
            change.worker = there;
            there += 1;
        } else if change.worker >= there {
            return Err(BadChange::Nobody { change: (*text).to_owned(), last: there.saturating_sub(1) });
        }
    }
    Ok(changes.into_iter().map(|(_, change)| change).collect())
}

/// One change; a worker that joins has no number yet.
///
/// # Errors
/// If the text is no change.
pub fn parse(text: &str) -> Result<Change, BadChange> {
    let mut parts = text.splitn(3, ':');
    let at = time(parts.next().unwrap_or_default())?;
    let happening = happening(parts.next().unwrap_or_default())?;
    let worker = match (happening, parts.next()) {
        (Happening::Join, None) => 0,
        (Happening::Join, Some(worker)) => return Err(BadChange::Worker(worker.to_owned())),
        (_, worker) => {
            let worker = worker.unwrap_or_default();
            worker.parse().map_err(|_| BadChange::Worker(worker.to_owned()))?
        }
    };
    Ok(Change { at, worker, happening })
}

fn time(text: &str) -> Result<Duration, BadChange> {
    let bad = || BadChange::Time(text.to_owned());
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())
}

fn happening(text: &str) -> Result<Happening, BadChange> {
    let (name, amount) = text.split_once('=').unwrap_or((text, ""));
    let amount = |what, hint, fits: fn(f64) -> bool| {
        let bad = || BadChange::Amount { text: amount.to_owned(), what, hint };
        amount.parse().ok().filter(|amount: &f64| fits(*amount)).ok_or_else(bad)
    };
    match (name, text.contains('=')) {
        ("join", false) => Ok(Happening::Join),
        ("drain", false) => Ok(Happening::Drain),
        ("leave", false) => Ok(Happening::Leave),
        ("restart", false) => Ok(Happening::Restart),
        ("slow", _) => {
            let fits = |factor: f64| factor > 0.0 && factor.is_finite();
            amount("factor", "slow=2 makes steps take twice as long", fits).map(Happening::Slow)
        }
        ("lose-events", _) => {
            let fits = |share: f64| (0.0..=1.0).contains(&share);
            amount("share", "lose-events=0.1 loses one event in ten", fits).map(Happening::LoseEvents)
        }
        _ => Err(BadChange::Happening(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_sorted_and_those_who_join_numbered() {
        let texts = ["10m:join", "300s:leave:3", "1500ms:slow=2:1", "0s:lose-events=0.1:2", "11m:drain:4"];
        let changes = parse_all(&texts, 4).unwrap();
        let at = |at, worker, happening| Change { at: Duration::from_millis(at), worker, happening };
        assert_eq!(
            changes,
            [
                at(0, 2, Happening::LoseEvents(0.1)),
                at(1500, 1, Happening::Slow(2.0)),
                at(300_000, 3, Happening::Leave),
                at(600_000, 4, Happening::Join),
                at(660_000, 4, Happening::Drain),
            ]
        );
    }

    #[test]
    fn every_kind_of_bad_change_is_told_with_a_hint() {
        for (text, expected) in [
            ("leave:3", "'leave' is no time; hint: write it as 90s"),
            ("300:leave:3", "'300' is no time"),
            ("-3s:leave:3", "'-3s' is no time"),
            ("3weeks:leave:3", "'3weeks' is no time"),
            ("", "'' is no time"),
            ("3s:explode:3", "'explode' cannot happen to a worker; hint: join, drain"),
            ("3s", "'' cannot happen"),
            ("3s:leave=1:3", "'leave=1' cannot happen"),
            ("3s:slow:3", "'' is no factor; hint: slow=2"),
            ("3s:slow=0:3", "'0' is no factor"),
            ("3s:lose-events=2:3", "'2' is no share; hint: lose-events=0.1"),
            ("3s:leave", "'' is no worker's number; hint: write it as 300s:leave:3"),
            ("3s:leave:last", "'last' is no worker's number"),
            ("3s:join:3", "'3' is no worker's number"),
            ("3s:leave:4", "about a worker that is not there; hint: workers are numbered from 0 to 3"),
        ] {
            let said = parse_all(&[text], 4).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
            assert!(said.contains("hint: "), "{text}: {said}");
        }
    }

    #[test]
    fn a_worker_that_joins_can_be_spoken_of_afterwards_and_not_before() {
        assert!(parse_all(&["5s:leave:4", "4s:join"], 4).is_ok());
        assert!(parse_all(&["3s:leave:4", "4s:join"], 4).is_err());
    }
}
