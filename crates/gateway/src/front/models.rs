//! Models by name: which workers may take a request, under which name they are asked, and the pages that list them.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use warmroute_openai::{ApiError, Splice};
use warmroute_routing::policy::nearest;

use super::Gateway;
use super::look::Asked;
use super::meant::Meant;
use super::refusal::Refusal;
use super::surfaces::{Route, Surface};
use crate::config::{AliasConfig, GatewayConfig, alias};
use crate::sources::catalogue::{Among, Catalogue, Found, merged};

/// What became of a request's model.
pub(super) struct Served<'a> {
    pub model: Meant<'a>,
    /// The workers that serve it.
    pub among: Among,
    /// What has to change in the body.
    pub change: Option<Splice>,
}

impl Gateway {
    /// Finds the workers for what is asked. `body` is what is there of it.
    pub(super) fn serve<'a>(
        &self,
        surface: &Surface,
        asked: &Asked<'_>,
        body: &[u8],
        config: &'a GatewayConfig,
    ) -> Result<Served<'a>, ApiError> {
        let catalogue = self.fleet.catalogue();
        let Some(name) = asked.model() else { return unnamed(surface, &catalogue, body) };
        let meant = alias::meant(&config.aliases, name);
        let change = meant.and_then(|model| asked.rename(body, model));
        let model = meant.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed);
        match catalogue.find(&model) {
            Found::Served(among) => {
                Ok(Served { model: Meant { weights: catalogue.weights(&model), name: model }, among, change })
            }
            // What a field of this name means there is not for us to say.
            Found::Unknown if surface.is_other() => Ok(Served { model: model.into(), among: None, change }),
            Found::Unknown => Err(unknown(&model, &catalogue, &config.aliases)),
        }
    }

    /// The workers that serve a model now; everybody if nobody says so.
    pub(super) fn among_now(&self, model: &str) -> Among {
        match self.fleet.catalogue().find(model) {
            Found::Served(among) => among,
            Found::Unknown => None,
        }
    }
}

/// A request that names no model means the only one there is.
fn unnamed<'a>(surface: &Surface, catalogue: &Catalogue, body: &[u8]) -> Result<Served<'a>, ApiError> {
    let needs_one = !surface.is_other() && surface.route != Route::Maker && !body.is_empty();
    match catalogue.only() {
        Some((name, among)) => {
            let name = Cow::<str>::Owned(name.unwrap_or_default().to_owned());
            Ok(Served { model: name.into(), among, change: None })
        }
        None if needs_one => Err(ApiError::model_required(&catalogue.names())),
        None => Ok(Served { model: Cow::Borrowed("").into(), among: None, change: None }),
    }
}

fn unknown(name: &str, catalogue: &Catalogue, aliases: &[AliasConfig]) -> ApiError {
    let mut known = catalogue.names();
    known.extend(aliases.iter().map(|alias| &*alias.name));
    let near = nearest(name, known.iter().copied());
    ApiError::model_not_found_but(name, &known, near)
}

/// `/v1/models`: all that the fleet serves now, and the other names for them.
pub(super) fn list(gateway: &Gateway) -> Response {
    Json(json!({"object": "list", "data": entries(gateway)})).into_response()
}

/// `/v1/models/{id}`
pub(super) fn one(gateway: &Gateway, id: &str) -> Response {
    match entries(gateway).into_iter().find(|model| model["id"] == id) {
        Some(model) => Json(model).into_response(),
        None => {
            let (catalogue, config) = (gateway.fleet.catalogue(), gateway.config.now());
            Refusal::from(unknown(id, &catalogue, &config.aliases)).into_response()
        }
    }
}

fn entries(gateway: &Gateway) -> Vec<Value> {
    let mut models = merged(&gateway.fleet.workers());
    for alias in &gateway.config.now().aliases {
        let meant = models.iter().find(|model| model["id"] == *alias.model).cloned();
        if let Some(mut model) = meant {
            model["id"] = alias.name.as_str().into();
            models.push(model);
        }
    }
    models
}
