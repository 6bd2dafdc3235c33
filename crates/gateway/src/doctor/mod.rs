//! The doctor: examines a fleet before it goes live, and says of everything that is wrong what mends it.
//!
//! It asks what the gateway relies on: that workers answer, tell usage, keep prefixes, cut prompts into the tokens and blocks that the
//! settings say, and publish what they do. Each worker is sent one small prompt twice; nothing else is changed anywhere.

mod events;
mod finding;
mod probe;
mod tokenizer;
mod visit;

use futures_util::future::join_all;
use warmroute_kv::Tokens;
use warmroute_routing::policy::nearest;

use self::events::Listener;
use self::finding::Chart;
pub use self::finding::{Check, Finding, Outcome};
use self::visit::Visit;
use crate::config::{ConfigError, GatewayConfig, WorkerConfig};
use crate::sources::describe::Description;
use crate::upstream::Upstream;

/// Tokens in a block where nobody says: vLLM's default.
const USUAL_BLOCK: Tokens = Tokens(16);

/// Examines all workers of the settings at once, and the settings; findings come in the order of the workers.
///
/// # Errors
/// If not even a gateway would start on these settings.
pub async fn examine(config: &GatewayConfig) -> Result<Vec<Finding>, ConfigError> {
    let upstream = Upstream::new(config)?;
    let mut findings = settings(config).findings;
    let workers = config.workers.iter().map(|worker| examine_worker(worker, config, &upstream));
    findings.extend(join_all(workers).await.into_iter().flatten());
    Ok(findings)
}

/// What can be seen without asking anybody.
fn settings(config: &GatewayConfig) -> Chart {
    let mut chart = Chart::of("");
    if config.workers.is_empty() {
        chart.failed(
            Check::Settings,
            "no workers are listed",
            "add [[workers]] to the file, or --worker URL",
        );
    }
    for (place, worker) in config.workers.iter().enumerate() {
        for endpoint in &worker.kv_events {
            let sharer = config.workers[..place].iter().find(|earlier| earlier.kv_events.contains(endpoint));
            if let Some(other) = sharer {
                let seen = format!("{} and {} have the same kv_events, {endpoint}", other.url, worker.url);
                chart.failed(
                    Check::Settings,
                    seen,
                    "every worker publishes at an endpoint of its own; one of the two is wrong",
                );
            }
        }
    }
    chart
}

async fn examine_worker(worker: &WorkerConfig, config: &GatewayConfig, upstream: &Upstream) -> Vec<Finding> {
    let (visit, mut chart) = (Visit::to(worker, upstream), Chart::of(worker.url.authority().as_str()));
    if reachable(&visit, worker, &mut chart).await
        && let Some(served) = serves(&visit, config, worker, &mut chart).await
    {
        examine_cache(&visit, worker, config, &served, &mut chart).await;
    }
    chart.findings
}

async fn reachable(visit: &Visit<'_>, worker: &WorkerConfig, chart: &mut Chart) -> bool {
    match visit.get("/health").await {
        Ok(answer) if answer.status.is_success() => {
            chart.ok(Check::Reachable, "it answers, and says that it is healthy");
            return true;
        }
        Ok(answer) if answer.status.as_u16() == 404 => {
            chart.failed(
                Check::Reachable,
                "it has no /health",
                "the gateway would never use it: put something before it that answers GET /health with 200",
            );
        }
        Ok(answer) => {
            chart.failed(
                Check::Reachable,
                format!("/health answers {}", answer.complaint()),
                "wait until its model is loaded; its log says what it lacks",
            );
        }
        Err(error) => {
            let fix = format!(
                "start it, or correct url = \"{}\" in [[workers]]; a worker in a container must listen on 0.0.0.0",
                worker.url
            );
            chart.failed(Check::Reachable, error.to_string(), fix);
        }
    }
    false
}

/// What a worker serves, and how.
struct Served {
    model: String,
    /// Tokens in a block, as it says itself.
    block: Option<Tokens>,
}

async fn serves(
    visit: &Visit<'_>,
    config: &GatewayConfig,
    worker: &WorkerConfig,
    chart: &mut Chart,
) -> Option<Served> {
    let models = match visit.get("/v1/models").await {
        Ok(answer) if answer.status.is_success() => answer.body,
        Ok(answer) if matches!(answer.status.as_u16(), 401 | 403) => {
            let fix = "set api_key = \"env:NAME\" in [[workers]] to the key that it was started with";
            chart.failed(Check::Models, format!("it wants another key: {}", answer.complaint()), fix);
            return None;
        }
        Ok(answer) => {
            chart.failed(
                Check::Models,
                format!("/v1/models answers {}", answer.complaint()),
                "see that url is the engine's own OpenAI API",
            );
            return None;
        }
        Err(error) => {
            chart.failed(
                Check::Models,
                format!("/v1/models: {error}"),
                "see that url is the engine's own OpenAI API",
            );
            return None;
        }
    };
    let metrics = visit.get("/metrics").await.ok().filter(|answer| answer.status.is_success());
    let description = Description::read(metrics.map(|answer| answer.body).as_ref(), Some(&models));
    let names = description.model_ids();
    let listed = names.iter().find(|name| config.token_block(name).is_some()).or(names.first());
    let Some(model) = listed else {
        chart.failed(
            Check::Models,
            "/v1/models lists no model",
            "see that url is the engine's own OpenAI API",
        );
        return None;
    };
    chart.ok(Check::Models, format!("it serves {}", names.join(", ")));
    if config.token_block(model).is_none() && !worker.kv_events.is_empty() {
        let near = nearest(model, config.models.iter().map(|listed| listed.name.as_str()));
        let near = near.map(|near| format!(" (the nearest name there is {near})")).unwrap_or_default();
        let seen =
            format!("it publishes events, and {model} is not in [[models]]{near}: its events cannot be used");
        let fix = format!(
            "add [[models]] with name = \"{model}\", and tokenizer = the directory that the worker loads"
        );
        chart.failed(Check::Models, seen, fix);
    }
    Some(Served { model: (*model).to_owned(), block: description.block })
}

async fn examine_cache(
    visit: &Visit<'_>,
    worker: &WorkerConfig,
    config: &GatewayConfig,
    served: &Served,
    chart: &mut Chart,
) {
    let model = config.models.iter().find(|listed| listed.name == served.model);
    let block = config.token_block(&served.model).or(served.block).unwrap_or(USUAL_BLOCK);
    match served.block {
        Some(theirs) if theirs != block => {
            let seen = format!(
                "its blocks have {} tokens, those of {} in the settings {}",
                theirs.0, served.model, block.0
            );
            chart.failed(
                Check::BlockSize,
                seen,
                format!(
                    "set block_tokens = {} in [[models]], or start it with --block-size {}",
                    theirs.0, block.0
                ),
            );
        }
        Some(_) if model.is_some() => {
            chart.ok(Check::BlockSize, format!("{} tokens here and there", block.0))
        }
        _ => {}
    }
    let listener = Listener::to(worker, &served.model, block, chart).await;
    let Some(probe) = probe::ask_twice(visit, &served.model, block, chart).await else { return };
    let tokens = match model {
        Some(model) => tokenizer::examine(visit, model, &probe, chart).await,
        None => None,
    };
    if let Some(listener) = listener {
        listener.examine(tokens.as_deref(), &probe, chart).await;
    }
}
