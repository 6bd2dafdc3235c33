//! `/policy`, `/settings` and `/reload`: what is in force, another policy, and the settings read anew.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use warmroute_openai::ApiError;
use warmroute_routing::policy::{POLICIES, PolicyConfig};

use super::Shared;
use super::sent::Sent;
use crate::config::SETTINGS;
use crate::front::refusal::Refusal;

pub(super) async fn policy(admin: Shared) -> Response {
    let policies: Vec<Value> = POLICIES
        .iter()
        .map(|policy| {
            let options = policy.options.iter();
            let options = options
                .map(|option| json!({"name": option.name, "about": option.about, "default": option.default}));
            json!({"name": policy.name, "about": policy.about, "options": options.collect::<Vec<_>>()})
        })
        .collect();
    Json(json!({"policy": admin.gateway.config.now().policy.to_string(), "policies": policies}))
        .into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPolicy {
    policy: String,
}

pub(super) async fn set_policy(admin: Shared, sent: Sent) -> Result<Response, Refusal> {
    let new: NewPolicy = sent.json()?;
    let bad = |error| {
        ApiError::invalid_request(format!("{error}")).with_param("policy").with_code("unknown_policy")
    };
    let policy: PolicyConfig = new.policy.parse().map_err(bad)?;
    let shown = policy.to_string();
    admin.reloader.set_policy(policy);
    Ok(Json(json!({ "policy": shown })).into_response())
}

pub(super) async fn all(admin: Shared) -> Response {
    let config = admin.gateway.config.now();
    let values = SETTINGS.iter().map(|setting| (setting.name.to_owned(), (setting.value)(&config).into()));
    Json(Value::Object(values.collect::<Map<_, _>>())).into_response()
}

pub(super) async fn reload(admin: Shared) -> Result<Response, Refusal> {
    let refused =
        |error| ApiError::new(422, "invalid_request_error", format!("{error}")).with_code("settings_refused");
    let reloaded = admin.reloader.reload().map_err(refused)?;
    Ok(Json(json!({"changed": reloaded.changed, "after_restart": reloaded.after_restart})).into_response())
}
