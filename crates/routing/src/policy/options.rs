//! Things chosen by name with numeric settings, as people write them: `name`, or `name:option=value,option=value`.
//!
//! Policies and the laboratory's workloads are both such things; what is parsed is printed again, defaults left out.

use std::fmt;

/// One setting.
#[derive(Debug)]
pub struct OptionInfo {
    /// What it is called after the name of what it sets.
    pub name: &'static str,
    /// What it is unless said otherwise.
    pub default: f64,
    /// The least and the greatest value it takes.
    pub range: (f64, f64),
    /// What it does, with its unit.
    pub about: &'static str,
}

/// The values of all settings, each within its range.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    infos: &'static [OptionInfo],
    values: &'a [f64],
}

impl Options<'_> {
    /// The value of a setting.
    ///
    /// # Panics
    /// If there is no such setting: a thing asks only for its own.
    pub fn get(&self, name: &str) -> f64 {
        let place = self.infos.iter().position(|option| option.name == name);
        self.values[place.expect("only declared options are asked for")]
    }

    /// The value of a setting that counts things.
    pub fn count(&self, name: &str) -> usize {
        // Ranges are checked on parsing; `as` drops a fraction.
        self.get(name) as usize
    }
}

/// An entry of a list from which people choose by name.
pub trait Named: 'static {
    /// What errors call such a thing: `policy`.
    const KIND: &'static str;

    /// What people write.
    fn name(&self) -> &'static str;

    /// The settings it takes.
    fn options(&self) -> &'static [OptionInfo];
}

/// An entry of a list, and the values of its settings.
#[derive(Debug)]
pub struct Chosen<T: 'static> {
    info: &'static T,
    values: Vec<f64>,
}

impl<T> Clone for Chosen<T> {
    fn clone(&self) -> Self {
        Self { info: self.info, values: self.values.clone() }
    }
}

impl<T: Named> Chosen<T> {
    /// An entry with its default settings.
    pub fn of(info: &'static T) -> Self {
        Self { info, values: info.options().iter().map(|option| option.default).collect() }
    }

    /// Parses `name` or `name:option=value,...` against a list.
    ///
    /// # Errors
    /// If there is no such entry or option, or the value is no number in the option's range.
    pub fn parse(text: &str, known: &'static [T]) -> Result<Self, BadChoice> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let info = known.iter().find(|info| info.name() == name).ok_or_else(|| BadChoice::Unknown {
            kind: T::KIND,
            name: name.to_owned(),
            known: known.iter().map(T::name).collect(),
        })?;
        let mut chosen = Self::of(info);
        for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
            chosen.set(setting)?;
        }
        Ok(chosen)
    }

    /// The entry.
    pub const fn info(&self) -> &'static T {
        self.info
    }

    /// The values of its settings.
    pub fn options(&self) -> Options<'_> {
        Options { infos: self.info.options(), values: &self.values }
    }

    fn set(&mut self, setting: &str) -> Result<(), BadChoice> {
        let (owner, infos) = (self.info.name(), self.info.options());
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let place = infos.iter().position(|option| option.name == name);
        let place = place.ok_or_else(|| BadChoice::UnknownOption {
            kind: T::KIND,
            owner,
            option: name.to_owned(),
            known: infos.iter().map(|option| option.name).collect(),
        })?;
        let (least, most) = infos[place].range;
        let in_range = value.parse().ok().filter(|value: &f64| (least..=most).contains(value));
        self.values[place] = in_range.ok_or_else(|| BadChoice::BadValue {
            kind: T::KIND,
            owner,
            option: name.to_owned(),
            value: value.to_owned(),
            range: (least, most),
        })?;
        Ok(())
    }
}

/// As it is parsed; settings at their defaults are left out.
impl<T: Named> fmt::Display for Chosen<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.info.name())?;
        let all = self.info.options().iter().zip(&self.values);
        let changed = all.filter(|(option, value)| option.default.to_bits() != value.to_bits());
        for (count, (option, value)) in changed.enumerate() {
            write!(out, "{}{}={value}", if count == 0 { ':' } else { ',' }, option.name)?;
        }
        Ok(())
    }
}

/// A choice that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadChoice {
    /// Nobody knows the name.
    #[error("there is no {kind} '{name}'; hint: use one of {}{}", known.join(", "), meant(name, known))]
    Unknown {
        /// What was chosen from: `policy`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// It has no such setting.
    #[error("{kind} {owner} has no option '{option}'; hint: {}{}", taken(known), meant(option, known))]
    UnknownOption {
        /// What was chosen from.
        kind: &'static str,
        /// What was chosen.
        owner: &'static str,
        /// The setting that was asked for.
        option: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The setting cannot have this value.
    #[error(
        "option '{option}' of {kind} {owner} cannot be '{value}'; hint: give a number from {} to {}, as in {owner}:{option}={}",
        range.0, range.1, range.0
    )]
    BadValue {
        /// What was chosen from.
        kind: &'static str,
        /// What was chosen.
        owner: &'static str,
        /// The setting.
        option: String,
        /// What was given.
        value: String,
        /// The least and the most it may be.
        range: (f64, f64),
    },
}

/// The one of `known` that `given` most likely was meant to be, if any is near.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|name| (strsim::osa_distance(given, name), name));
    // One letter in three may be wrong, missing or in its neighbour's place; more would be another word.
    let near = distances.filter(|(distance, name)| distance * 3 <= given.len().max(name.len()));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

fn meant(given: &str, known: &[&str]) -> String {
    nearest(given, known.iter().copied()).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

fn taken(known: &[&str]) -> String {
    if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) }
}
