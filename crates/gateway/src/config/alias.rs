//! Another name under which clients may ask for a model.

use serde::Deserialize;

/// One alias: requests for `name` become requests for `model`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasConfig {
    /// What clients ask for.
    pub name: String,
    /// What workers are asked for.
    pub model: String,
}

/// What an `[[aliases]]` table may say.
pub(super) const ALIAS_KEYS: [&str; 2] = ["name", "model"];

/// The model that is meant by a name.
pub(crate) fn meant<'a>(aliases: &'a [AliasConfig], name: &str) -> Option<&'a str> {
    aliases.iter().find(|alias| alias.name == name).map(|alias| &*alias.model)
}
