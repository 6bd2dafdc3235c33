//! The flags for KV events: where a worker tells what its cache does.

use clap::{Args, ValueEnum};
use warmroute_kv::wire::Form;
use warmroute_worker::publish::{KvAddress, KvPublishing};

/// Where and how events are published.
#[derive(Args)]
#[command(next_help_heading = "KV events")]
pub(super) struct Publishing {
    /// Publish what the cache does at this address of this machine, as vLLM does over ZMQ: tcp://127.0.0.1:5557, or tcp://*:5557 for
    /// others to hear. Unlike vLLM the worker always listens there, whatever the host
    #[arg(long, value_name = "ADDRESS", env = "WARMROUTE_KV_EVENTS")]
    kv_events: Option<KvAddress>,
    /// Tell the last 10,000 messages again to whoever asks here
    #[arg(long, value_name = "ADDRESS", env = "WARMROUTE_KV_REPLAY", requires = "kv_events")]
    kv_replay: Option<KvAddress>,
    /// What every message begins with, for readers to subscribe to
    #[arg(
        long,
        hide_short_help = true,
        value_name = "TOPIC",
        env = "WARMROUTE_KV_TOPIC",
        default_value = ""
    )]
    kv_topic: String,
    /// The form of events: `map` as vLLM since 0.24, `array` as before
    #[arg(
        long,
        hide_short_help = true,
        value_name = "FORM",
        env = "WARMROUTE_KV_FORM",
        default_value = "map"
    )]
    kv_form: FormName,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormName {
    /// Maps of fields by name
    Map,
    /// Lists of fields by place
    Array,
}

impl Publishing {
    pub(super) fn asked(self) -> Option<KvPublishing> {
        let form = match self.kv_form {
            FormName::Map => Form::Map,
            FormName::Array => Form::Array,
        };
        let Self { kv_replay: replay, kv_topic: topic, .. } = self;
        self.kv_events.map(|events| KvPublishing { events, replay, topic, form })
    }
}
