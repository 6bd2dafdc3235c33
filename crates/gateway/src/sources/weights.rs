//! What the name of a model stands for in a cache: several names may be of the same weights, and an adapter lies over those of its base.
//!
//! Engines name blocks by what they were computed with and not by what a client called it, so requests are named so too. As vLLM and SGLang
//! list them: other names of a model have its `root`, and an adapter (LoRA) has a `parent`.

use std::sync::Arc;

use serde_json::Value;

/// The weights behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    /// The first name of the model that has them.
    pub base: Arc<str>,
    /// The name of the adapter over them.
    pub adapter: Option<Arc<str>>,
}

impl Weights {
    /// Those of the model that `models`, the entries of a worker's list, have by this name; `None` if it has none but its own.
    pub(crate) fn behind(name: &str, models: &[Value]) -> Option<Self> {
        let parent = entry(name, models)?["parent"].as_str();
        let base = parent.unwrap_or(name);
        let base = entry(base, models)
            .and_then(|entry| first_of_root(entry["root"].as_str()?, models))
            .unwrap_or(base);
        (parent.is_some() || base != name)
            .then(|| Self { base: base.into(), adapter: parent.map(|_| name.into()) })
    }
}

fn entry<'m>(name: &str, models: &'m [Value]) -> Option<&'m Value> {
    models.iter().find(|entry| entry["id"] == name)
}

fn first_of_root<'m>(root: &str, models: &'m [Value]) -> Option<&'m str> {
    let first = models.iter().find(|entry| entry["root"] == root && entry["parent"].is_null());
    first?["id"].as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn weights(base: &str, adapter: Option<&str>) -> Option<Weights> {
        Some(Weights { base: base.into(), adapter: adapter.map(Into::into) })
    }

    #[test]
    fn other_names_stand_for_the_first_and_adapters_for_what_they_lie_over() {
        let models = json!([
            {"id": "base", "root": "/models/base", "parent": null},
            {"id": "also", "root": "/models/base", "parent": null},
            {"id": "adapter", "root": "/adapters/a", "parent": "base"},
            {"id": "of-also", "root": "/adapters/a", "parent": "also"},
            {"id": "lone"},
        ]);
        let behind = |name: &str| Weights::behind(name, models.as_array().unwrap());
        assert_eq!(behind("also"), weights("base", None));
        assert_eq!(behind("adapter"), weights("base", Some("adapter")));
        assert_eq!(behind("of-also"), weights("base", Some("of-also")));
        for own in ["base", "lone", "not listed"] {
            assert_eq!(behind(own), None, "{own}");
        }
    }

    #[test]
    fn an_adapter_of_what_is_not_listed_still_has_a_base() {
        let models = json!([{"id": "adapter", "root": "/adapters/a", "parent": "/models/base"}]);
        assert_eq!(
            Weights::behind("adapter", models.as_array().unwrap()),
            weights("/models/base", Some("adapter"))
        );
    }
}
