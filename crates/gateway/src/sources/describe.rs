//! What a worker says of itself when it joins: the models it serves and how large its KV cache is.
//!
//! Both are optional. Without `/v1/models` the worker adds nothing to the merged list; without vLLM's
//! `vllm:cache_config_info` its capacity is unknown and the router guesses.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use warmroute_kv::Tokens;

/// What a worker said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Description {
    /// Tokens its KV cache holds.
    pub capacity: Option<Tokens>,
    /// Tokens in a block of its cache.
    pub block: Option<Tokens>,
    /// The entries of its model list, as it wrote them.
    pub models: Vec<Value>,
}

impl Description {
    /// Reads the bodies of `/metrics` and `/v1/models`, where there were any.
    pub(crate) fn read(metrics: Option<&Bytes>, models: Option<&Bytes>) -> Self {
        let metrics = metrics.map(|body| String::from_utf8_lossy(body));
        let capacity = metrics.as_deref().and_then(capacity);
        let block = metrics.as_deref().and_then(block);
        let models = models.and_then(|body| serde_json::from_slice::<ModelList>(body).ok());
        Self { capacity, block, models: models.map(|list| list.data).unwrap_or_default() }
    }

    /// The names of its models.
    pub(crate) fn model_ids(&self) -> Vec<&str> {
        self.models.iter().filter_map(|model| model["id"].as_str()).collect()
    }
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Value>,
}

/// The cache size in vLLM's metrics; data-parallel engines each have a line, and their caches add up.
fn capacity(metrics: &str) -> Option<Tokens> {
    let engines = metrics.lines().filter_map(|line| line.strip_prefix("vllm:cache_config_info{"));
    let sizes = engines
        .filter_map(|labels| label(labels, "block_size")?.checked_mul(label(labels, "num_gpu_blocks")?));
    sizes.reduce(u32::saturating_add).filter(|&tokens| tokens > 0).map(Tokens)
}

/// The block size in the same line.
fn block(metrics: &str) -> Option<Tokens> {
    let labels = metrics.lines().find_map(|line| line.strip_prefix("vllm:cache_config_info{"))?;
    label(labels, "block_size").filter(|&tokens| tokens > 0).map(Tokens)
}

/// A whole-number label of a metric line; vLLM writes `None` for what it does not know yet.
fn label(labels: &str, name: &str) -> Option<u32> {
    let found = labels.match_indices(name).find(|(at, _)| *at == 0 || labels[..*at].ends_with(','))?;
    let value = labels[found.0 + name.len()..].strip_prefix("=\"")?;
    value.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_read_from_vllms_cache_config() {
        let line = "vllm:cache_config_info{block_size=\"16\",cpu_block_size=\"8\",num_gpu_blocks=\"250\",engine=\"0\"} 1.0";
        let text = format!("# HELP x\nvllm:num_requests_running 0\n{line}\n");
        assert_eq!(capacity(&text), Some(Tokens(4000)));
        assert_eq!(block(&text), Some(Tokens(16)));
        assert_eq!(capacity(&format!("{text}{line}\n")), Some(Tokens(8000)), "two engines");
    }

    #[test]
    fn a_worker_that_tells_nothing_useful_has_an_unknown_capacity() {
        let unknown = "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1.0";
        for text in ["", "sglang:token_usage 0.1", unknown, "vllm:cache_config_info{num_gpu_blocks=\"9\"} 1"]
        {
            assert_eq!(capacity(text), None, "{text}");
        }
    }

    #[test]
    fn model_entries_are_kept_as_the_worker_wrote_them() {
        let body = Bytes::from_static(br#"{"object":"list","data":[{"id":"m","permission":[{"x":1}]}]}"#);
        let read = Description::read(None, Some(&body));
        assert_eq!(read.models, [serde_json::json!({"id": "m", "permission": [{"x": 1}]})]);
        assert_eq!(Description::read(None, Some(&Bytes::from_static(b"<html>"))), Description::default());
    }
}
