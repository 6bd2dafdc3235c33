//! Which models the fleet serves, and which of its workers serve each.
//!
//! Made anew whenever a worker comes, goes, describes itself or changes its health, and read without a lock by every request. A worker
//! that lists no models is taken to serve any: what it does with a name is then its own affair. A model whose workers are all down is
//! still known, so that its requests are told to come back (503) and not that there is no such model (404).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use warmroute_routing::WorkerId;

use super::weights::Weights;
use super::worker::{State, Worker};

/// The workers that may take a request, in order of their ids; `None` is everybody.
pub(crate) type Among = Option<Arc<[WorkerId]>>;

/// Every model that some worker says it serves.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    models: BTreeMap<Box<str>, Among>,
    /// What names stand for that are not of weights of their own. Where workers do not agree a name stands for itself.
    weights: BTreeMap<Box<str>, Option<Arc<Weights>>>,
    /// The name of the only model there is. Adapters, and other names for the same weights, are no models of their own.
    only: Option<Box<str>>,
    /// Those who serve any model, if there are any.
    silent: Option<Among>,
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These serve it, or may.
    Served(Among),
    /// Nobody does.
    Unknown,
}

impl Catalogue {
    /// What these workers serve.
    pub(super) fn of(workers: &[Arc<Worker>]) -> Self {
        let mut servers: BTreeMap<Box<str>, Vec<WorkerId>> = BTreeMap::new();
        let (mut silent, mut known, mut roots, mut weights) =
            (Vec::new(), 0, BTreeMap::new(), BTreeMap::new());
        for worker in workers {
            let Some(description) = worker.described() else { continue };
            known += 1;
            if description.model_ids().is_empty() && worker.state() == State::Up {
                silent.push(worker.id);
            }
            for model in &description.models {
                let Some(name) = model["id"].as_str() else { continue };
                servers.entry(name.into()).or_default().push(worker.id);
                let behind = Weights::behind(name, &description.models);
                let agreed: &mut Option<Arc<Weights>> =
                    weights.entry(name.into()).or_insert_with(|| behind.clone().map(Arc::new));
                if agreed.as_deref() != behind.as_ref() {
                    *agreed = None;
                }
                if model["parent"].is_null() {
                    let root = model["root"].as_str().unwrap_or(name);
                    roots.entry(root.to_owned()).or_insert_with(|| Box::<str>::from(name));
                }
            }
        }
        let among = |mut list: Vec<WorkerId>| {
            list.sort_unstable();
            list.dedup();
            (list.len() < known).then(|| Arc::from(list))
        };
        let only = match (roots.len(), roots.into_values().next()) {
            (1, name) => name,
            _ => None,
        };
        let with_silent = |(name, list): (_, Vec<_>)| (name, among([list, silent.clone()].concat()));
        let models = servers.into_iter().map(with_silent).collect();
        Self { models, weights, only, silent: (!silent.is_empty()).then(|| among(silent.clone())) }
    }

    /// Who serves the model of this name.
    pub(crate) fn find(&self, name: &str) -> Found {
        match (self.models.get(name), &self.silent) {
            (Some(among), _) | (None, Some(among)) => Found::Served(among.clone()),
            // Nothing is known at all: whether there is a worker is the router's to say.
            (None, None) if self.models.is_empty() => Found::Served(None),
            (None, None) => Found::Unknown,
        }
    }

    /// What the model of this name stands for; `None` if it has weights of its own.
    pub(crate) fn weights(&self, name: &str) -> Option<Arc<Weights>> {
        self.weights.get(name).cloned().flatten()
    }

    /// The model that a request means which names none, if there is no doubt; nobody knows its name where no worker says one.
    pub(crate) fn only(&self) -> Option<(Option<&str>, Among)> {
        match &self.only {
            Some(name) => Some((Some(name), self.models.get(name).cloned().flatten())),
            None if self.models.is_empty() => Some((None, None)),
            None => None,
        }
    }

    /// All names, in alphabetical order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.models.keys().map(|name| &**name).collect()
    }
}

/// The models of all workers that are up, each once: as the first worker that serves it describes it, but with the shortest context of all
/// that do, since a request may come to any of them.
pub(crate) fn merged(workers: &[Arc<Worker>]) -> Vec<Value> {
    let mut union: Vec<Value> = Vec::new();
    for worker in workers.iter().filter(|worker| worker.state() == State::Up) {
        for model in &worker.description().models {
            let Some(known) = union.iter_mut().find(|known| known["id"] == model["id"]) else {
                union.push(model.clone());
                continue;
            };
            let lengths = [known["max_model_len"].as_u64(), model["max_model_len"].as_u64()];
            if let [Some(known_length), Some(length)] = lengths
                && length < known_length
            {
                known["max_model_len"] = length.into();
            }
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::super::describe::Description;
    use super::super::worker::Health;
    use super::*;

    /// Workers that are up and list these models.
    fn fleet(lists: &[Value]) -> Vec<Arc<Worker>> {
        let worker = |(id, list): (usize, &Value)| {
            let worker = Worker::new(WorkerId(id as u32), &format!("http://w:{}", id + 1).parse().unwrap());
            let body = Bytes::from(json!({"data": list}).to_string());
            worker.describe(Description::read(None, Some(&body)));
            worker.set_health(Health::Up);
            Arc::new(worker)
        };
        lists.iter().enumerate().map(worker).collect()
    }

    fn found(catalogue: &Catalogue, name: &str) -> Option<Vec<u32>> {
        match catalogue.find(name) {
            Found::Served(among) => Some(among.map_or(vec![], |list| list.iter().map(|id| id.0).collect())),
            Found::Unknown => None,
        }
    }

    #[test]
    fn a_model_is_served_by_those_who_list_it() {
        let catalogue =
            Catalogue::of(&fleet(&[json!([{"id": "a"}]), json!([{"id": "b"}]), json!([{"id": "b"}])]));
        assert_eq!((found(&catalogue, "a"), found(&catalogue, "b")), (Some(vec![0]), Some(vec![1, 2])));
        assert_eq!(found(&catalogue, "c"), None);
        assert_eq!((catalogue.names(), catalogue.only()), (vec!["a", "b"], None));
    }

    #[test]
    fn a_name_stands_for_other_weights_only_if_all_that_list_it_agree() {
        let renamed = json!([{"id": "new", "root": "/m"}, {"id": "old", "root": "/m"}]);
        let agreed = Catalogue::of(&fleet(&[renamed.clone(), renamed.clone()]));
        assert_eq!(agreed.weights("old").map(|weights| weights.base.to_string()).as_deref(), Some("new"));
        let apart = Catalogue::of(&fleet(&[json!([{"id": "old", "root": "/m"}]), renamed]));
        assert_eq!((apart.weights("old"), apart.weights("new")), (None, None));
    }

    #[test]
    fn everybody_is_no_list() {
        let catalogue = Catalogue::of(&fleet(&[json!([{"id": "a"}]), json!([{"id": "a"}])]));
        assert_eq!(catalogue.find("a"), Found::Served(None));
        assert_eq!(catalogue.only(), Some((Some("a"), None)));
    }

    #[test]
    fn who_lists_nothing_is_taken_to_serve_anything_and_a_fleet_of_which_nothing_is_known_too() {
        let catalogue = Catalogue::of(&fleet(&[json!([{"id": "a"}]), json!([])]));
        assert_eq!((catalogue.find("a"), found(&catalogue, "b")), (Found::Served(None), Some(vec![1])));
        assert_eq!(Catalogue::default().find("b"), Found::Served(None));
        assert_eq!(Catalogue::default().only(), Some((None, None)));
    }

    #[test]
    fn adapters_and_other_names_of_the_same_weights_are_no_models_of_their_own() {
        let list = json!([{"id": "base", "root": "/m"}, {"id": "also", "root": "/m"}, {"id": "lora", "parent": "base"}]);
        let catalogue = Catalogue::of(&fleet(&[list, json!([{"id": "base", "root": "/m"}])]));
        assert_eq!(catalogue.only().unwrap().0, Some("base"));
        assert_eq!(found(&catalogue, "lora"), Some(vec![0]));
    }

    #[test]
    fn a_model_whose_workers_are_down_is_still_known() {
        let workers = fleet(&[json!([{"id": "a"}]), json!([{"id": "b"}])]);
        workers[0].set_health(Health::Down);
        assert_eq!(found(&Catalogue::of(&workers), "a"), Some(vec![0]));
        assert_eq!(merged(&workers), [json!({"id": "b"})]);
    }

    #[test]
    fn the_shortest_context_of_all_counts() {
        let long = json!([{"id": "a", "max_model_len": 8192, "owned_by": "first"}]);
        let short = json!([{"id": "a", "max_model_len": 4096, "owned_by": "second"}]);
        let expected = json!({"id": "a", "max_model_len": 4096, "owned_by": "first"});
        assert_eq!(merged(&fleet(&[long, short])), [expected]);
    }
}
