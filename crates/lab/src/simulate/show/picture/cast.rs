//! Who is in the picture, and in which colour.

use plotters::prelude::RGBColor;

use crate::simulate::show::summary::{Group, OURS, Row};

/// Lines in one panel; more cannot be told apart.
const LINES: usize = 6;
/// Ours.
const VERMILION: RGBColor = RGBColor(213, 94, 0);
/// The best others, from the first on.
const OTHERS: [RGBColor; LINES - 2] =
    [RGBColor(0, 114, 178), RGBColor(0, 158, 115), RGBColor(86, 180, 233), RGBColor(204, 121, 167)];
/// The worst.
const BLACK: RGBColor = RGBColor(30, 30, 30);
/// Those that have a bar only.
const GREY: RGBColor = RGBColor(190, 190, 190);

/// A row with its colour.
#[derive(Clone, Debug)]
pub(super) struct Role<'a> {
    pub(super) row: &'a Row<'a>,
    pub(super) colour: RGBColor,
    /// Whether it has lines, or a bar only.
    pub(super) leads: bool,
}

impl Role<'_> {
    pub(super) fn is_ours(&self) -> bool {
        self.row.policy == OURS
    }
}

/// Everybody, from the fastest to the slowest; at least one.
#[derive(Clone, Debug)]
pub(super) struct Cast<'a> {
    pub(super) roles: Vec<Role<'a>>,
}

impl<'a> Cast<'a> {
    /// Nobody, if there are no rows.
    pub(super) fn of(group: &'a Group<'a>) -> Option<Self> {
        let mut rows: Vec<&Row<'_>> = group.rows.iter().collect();
        rows.sort_by(|one, other| one.ttft().total_cmp(&other.ttft()));
        let last = rows.len().checked_sub(1)?;
        let mut colours = OTHERS.into_iter();
        let role = |(place, row): (usize, &'a Row<'a>)| {
            let leading = match row.policy {
                OURS => Some(VERMILION),
                _ if place == last && last > 0 => Some(BLACK),
                _ => colours.next(),
            };
            Role { row, colour: leading.unwrap_or(GREY), leads: leading.is_some() }
        };
        Some(Self { roles: rows.into_iter().enumerate().map(role).collect() })
    }

    /// Those with lines, ours last so that it lies on top.
    pub(super) fn leads(&self) -> impl Iterator<Item = &Role<'a>> {
        let is_lead = |ours: bool| move |role: &&Role<'_>| role.leads && role.is_ours() == ours;
        self.roles.iter().filter(is_lead(false)).chain(self.roles.iter().filter(is_lead(true)))
    }

    /// The one in the foreground: ours, or the fastest where ours is not there.
    pub(super) fn hero(&self) -> &Role<'a> {
        self.roles.iter().find(|role| role.is_ours()).unwrap_or(&self.roles[0])
    }

    /// The slowest, if that is somebody else.
    pub(super) fn villain(&self) -> Option<&Role<'a>> {
        self.roles.iter().rev().find(|role| role.row.policy != self.hero().row.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::examples::with;
    use super::*;

    #[test]
    fn ours_the_best_and_the_worst_have_lines_and_the_others_bars() {
        let mut runs = Vec::new();
        for place in 0..9 {
            let policy = if place == 7 { OURS.to_owned() } else { format!("p{place}") };
            runs.push(with(&policy, |run| run.ttft_s.mean = f64::from(place) + 1.0));
        }
        let groups = Group::all(&runs);
        let cast = Cast::of(&groups[0]).unwrap();
        let leads: Vec<&str> = cast.leads().map(|role| role.row.policy).collect();
        assert_eq!(leads, ["p0", "p1", "p2", "p3", "p8", OURS]);
        assert_eq!((cast.hero().row.policy, cast.villain().unwrap().row.policy), (OURS, "p8"));
    }

    #[test]
    fn a_single_policy_has_no_villain() {
        let runs = [with("random", |_| {})];
        let groups = Group::all(&runs);
        let cast = Cast::of(&groups[0]).unwrap();
        assert_eq!((cast.hero().row.policy, cast.villain().is_none()), ("random", true));
    }
}
