//! Every setting of the gateway, declared once: the struct, its defaults, the TOML file, flags and reference page come from one table.
//!
//! A setting is a line in `settings!` below: its doc (what, unit, why this default), name, type and default, and how it behaves: `main`
//! ones are in the short help, `restart` ones take effect when the gateway starts and not on a reload. The file is read through serde
//! (unknown keys refused); the command line walks [`SETTINGS`] for its flags and lays them over the file with [`GatewayConfig::set`], so
//! flags win and a setting cannot exist in one place and be missing in the other.

pub(crate) mod alias;
mod collector;
mod discover;
mod error;
mod file;
mod kv_source;
mod live;
mod model;
mod peers;
#[cfg(test)]
mod reference;
mod values;
mod worker;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use warmroute_routing::policy::PolicyConfig;

pub use self::alias::AliasConfig;
pub use self::collector::{Collector, NoCollector};
pub use self::discover::{BadSource, SourceConfig, Sources};
pub use self::error::{BadFile, ConfigError};
pub use self::kv_source::{BadEndpoint, KvEndpoint, KvSource};
pub(crate) use self::live::Live;
pub use self::model::{BadTokenizer, ModelConfig, TokenizerSource};
pub(crate) use self::peers::MOST_PEERS;
pub use self::peers::{BadPeers, KeyInEnvironment, PeerConfig, Peers};
pub use self::values::{BadSecret, FilePath, Millis, NoPath, Optional, Secret, Sink};
use self::values::{from_number, from_text};
pub(crate) use self::worker::Link;
pub use self::worker::{WorkerConfig, WorkerUrl};
use crate::keys::Keys;
use crate::tls;

/// What is known about one setting besides its value; the command line and the reference page are made from these.
#[derive(Debug)]
pub struct Setting {
    /// Name in the file; the flag is the same with dashes.
    pub name: &'static str,
    /// What it does, its unit and the reason for its default.
    pub about: &'static str,
    /// Under which heading help and the reference page show it.
    pub group: &'static str,
    /// How it behaves.
    pub marks: &'static [Mark],
    /// The default as it would be written.
    pub default: fn() -> String,
    /// What it is in a configuration, as it would be written.
    pub value: fn(&GatewayConfig) -> String,
}

/// How a setting behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "they are written so in the table of settings")]
pub enum Mark {
    /// It is in the short help.
    main,
    /// It takes effect when the gateway starts, not on a reload.
    restart,
}

impl Setting {
    /// Whether it behaves so.
    pub fn is(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }
}

macro_rules! settings {
    ($($group:literal { $($(#[doc = $about:literal])+ $(#[serde($($serde:tt)+)])? $name:ident: $kind:ty = $default:expr $(, $mark:ident)*;)+ })+) => {
        /// Everything the gateway can be told; see [`SETTINGS`] for the same as a table.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct GatewayConfig {
            /// The workers behind the gateway, `[[workers]]` in the file.
            pub workers: Vec<WorkerConfig>,
            /// Other names for models, `[[aliases]]` in the file.
            pub aliases: Vec<AliasConfig>,
            /// Models in token mode, `[[models]]` in the file.
            pub models: Vec<ModelConfig>,
            /// Keys that clients must show, beside those of `keys_file`; from the environment only, since flags show in process lists.
            #[serde(skip)]
            pub keys: Keys,
            $($($(#[doc = $about])+ $(#[serde($($serde)+)])? pub $name: $kind,)+)+
        }

        impl Default for GatewayConfig {
            fn default() -> Self {
                Self { workers: Vec::new(), aliases: Vec::new(), models: Vec::new(), keys: Keys::default(), $($($name: $default,)+)+ }
            }
        }

        /// All settings but the list of workers, in the order they are declared.
        pub const SETTINGS: &[Setting] = &[$($(Setting {
            name: stringify!($name),
            about: concat!($($about),+),
            group: $group,
            marks: &[$(Mark::$mark),*],
            default: || { let default: $kind = $default; default.to_string() },
            value: |config| config.$name.to_string(),
        },)+)+];

        impl GatewayConfig {
            /// Lays one flag over the settings.
            ///
            /// # Errors
            /// When there is no setting of that name or the value does not parse as its type.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
                match name {
                    $($(stringify!($name) => self.$name = parse(name, value)?,)+)+
                    _ => return Err(ConfigError::Unknown { name: name.to_owned(), hint: file::hint_for(name) }),
                }
                Ok(())
            }
        }
    };
}

settings! {
    "Listening" {
        /// Address and port to listen on; loopback unless told otherwise, so that a trial run is never open to the network.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8000)), main, restart;
        /// Address and port of the admin API, or off; anything but loopback needs a key with `admin`.
        #[serde(deserialize_with = "from_text")]
        admin_listen: Optional<SocketAddr> = Optional::OFF, main, restart;
        /// PEM file with the certificate that clients are shown and those it rests on, or off for plain HTTP; read again on a reload.
        #[serde(deserialize_with = "from_text")]
        tls_cert: Optional<FilePath> = Optional::OFF;
        /// PEM file with the key of `tls_cert`; read again with it.
        #[serde(deserialize_with = "from_text")]
        tls_key: Optional<FilePath> = Optional::OFF;
        /// PEM file with the certificate that those who use the admin API are shown, or off for plain HTTP; read again on a reload.
        #[serde(deserialize_with = "from_text")]
        admin_tls_cert: Optional<FilePath> = Optional::OFF;
        /// PEM file with the key of `admin_tls_cert`; read again with it. The files may be those of `tls_cert` and `tls_key`.
        #[serde(deserialize_with = "from_text")]
        admin_tls_key: Optional<FilePath> = Optional::OFF;
        /// Let another gateway listen on the same port (SO_REUSEPORT): a new one can take over while this one drains. See docs/operations.md.
        reuse_port: bool = false, restart;
        /// Threads that serve connections, each its own; 0 is one for each processor. Each fills about one processor when it is busy.
        threads: usize = 0, restart;
        /// Most client connections at once; the next one waits in the listen queue. Each costs about 20 kB, so this is 320 MB at worst.
        max_connections: usize = 16_384, restart;
        /// Milliseconds a client's connection may be idle or in the middle of a request head; above the 60 to 90 s for which proxies keep theirs.
        client_idle_timeout_ms: Millis = Millis(120_000), restart;
        /// Largest request body in bytes, answered with 413 beyond; 64 MiB holds a million-token prompt with room for images.
        max_body_bytes: usize = 64 * 1024 * 1024;
        /// Milliseconds for a client to send its whole request body; 64 MiB on a 20 Mbit/s line take 27 s.
        body_timeout_ms: Millis = Millis(60_000);
        /// Milliseconds to keep serving with `/readyz` at 503 before the listener closes; set it to what a load balancer in front needs to notice.
        drain_delay_ms: Millis = Millis(0);
        /// Milliseconds running requests may take to end in a drain; below Kubernetes' 30 s, after which it kills.
        drain_grace_ms: Millis = Millis(25_000);
    }
    "Routing" {
        /// Routing policy and its options, such as `cache_aware` or `prefix_hash:chars=20`.
        #[serde(deserialize_with = "from_text")]
        policy: PolicyConfig = PolicyConfig::default(), main;
        /// Seed of the policies' random choices; the same seed and arrivals give the same decisions.
        seed: u64 = 0, restart;
        /// Bytes of prompt text hashed into one block: about four 16-token blocks of the engines. Smaller ones know better where prompts part,
        /// by a few dozen tokens, and cost time and memory for each. After sixteen blocks they are twice as long, after sixteen more four
        /// times: where prompts part is known to within a sixteenth.
        text_chunk_bytes: usize = 256, restart;
        /// Bytes of memory for what the router believes that workers' caches hold, a hard bound; 256 MiB are 700,000 blocks, the caches of a
        /// hundred GPUs. Less of it costs hits, and nothing else.
        router_bytes: usize = 256 * 1024 * 1024, restart;
        /// Ask workers for usage at the end of every stream, which tells what their caches really held; clients that did not ask for it do not
        /// see it. Off, since it changes bodies, if only by a splice.
        include_usage: bool = false;
        /// Pass requests for paths that are not known here on to some worker; off answers them with 404. Whoever may ask the gateway may then
        /// ask a worker for anything it serves.
        other_paths: bool = true;
    }
    "Workers" {
        /// Where workers are looked for beside those that are listed: file:PATH, dns://HOST:PORT or srv://NAME, separated by commas, or off.
        #[serde(deserialize_with = "from_text")]
        discover: Sources = Sources::default(), main, restart;
        /// DNS server for `discover`, as 10.0.0.10:53; off asks those of the system.
        #[serde(deserialize_with = "from_text")]
        dns_server: Optional<SocketAddr> = Optional::OFF, restart;
        /// PEM file with certificates that are believed, beside Mozilla's, of workers at https:// addresses; off believes no others.
        #[serde(deserialize_with = "from_text")]
        tls_ca: Optional<FilePath> = Optional::OFF, restart;
        /// Most workers tried for one request before its first byte; beyond three, the fleet has a problem no retry solves.
        max_attempts: usize = 3;
        /// Percent of requests that may be retries, beside ten a second and what was saved up; a fleet that fails for want of power would
        /// not recover from more.
        retry_percent: u32 = 20;
        /// Most requests at once on each worker, or off, which learns it from workers that answer 429; `max_in_flight` in `[[workers]]`
        /// counts more. Beyond, requests wait here, in order of priority and by fair shares, and can still choose their worker.
        #[serde(deserialize_with = "from_number")]
        max_in_flight: Optional<NonZeroU32> = Optional::OFF;
        /// Most requests that wait for a worker with room, answered with 429 beyond; 0 lets none wait.
        queue_limit: usize = 1_024;
        /// Milliseconds that a request waits for a worker with room before it gets 429; clients that wait longer mostly have left.
        queue_timeout_ms: Millis = Millis(30_000);
        /// Milliseconds to open a connection to a worker; more than one lost SYN (1 s) and far below clients' patience.
        connect_timeout_ms: Millis = Millis(2_000), restart;
        /// Milliseconds until a worker's first body byte; ten minutes, as OpenAI's own clients wait, since an unstreamed answer is one piece.
        first_byte_timeout_ms: Millis = Millis(600_000);
        /// Milliseconds between two pieces of a worker's answer; engines send one per token, but preemption may stall one for long.
        idle_timeout_ms: Millis = Millis(120_000);
        /// Milliseconds from a request's arrival to the last byte of its answer, or off: a stream may rightly take as long as it likes.
        #[serde(deserialize_with = "from_number")]
        total_timeout_ms: Optional<Millis> = Optional::OFF;
        /// Milliseconds an idle connection to a worker is kept; below vLLM's keep-alive of 5 s, so that the worker never closes one as we use it.
        pool_idle_timeout_ms: Millis = Millis(4_000), restart;
    }
    "Other gateways" {
        /// Admin APIs of the other gateways before the same workers: http://HOST:PORT, https://HOST:PORT or dns://HOST:PORT (every address of
        /// a name), separated by commas, or off. This gateway's own may be among them. They tell each other what they have under way and what
        /// they sent to workers without KV events; needs `admin_listen`. See docs/operations.md.
        #[serde(deserialize_with = "from_text")]
        peers: Peers = Peers::default();
        /// Key that is shown to the other gateways' admin APIs, as env:NAME, or off; it needs `admin` in their keys_file.
        #[serde(deserialize_with = "from_text")]
        peers_key: Optional<KeyInEnvironment> = Optional::OFF;
    }
    "Health checks" {
        /// Milliseconds between health probes of a worker; hard failures are seen on the requests themselves, at once.
        probe_interval_ms: Millis = Millis(1_000);
        /// Milliseconds a health probe may take; a CPU worker in the middle of a long prefill answers late but is alive.
        probe_timeout_ms: Millis = Millis(5_000);
        /// Failed probes in a row that take a worker out; a refused connection takes it out at the first.
        unhealthy_after: u32 = 3;
        /// Good probes in a row that bring a worker back; the very first join needs only one.
        healthy_after: u32 = 2;
        /// Milliseconds a request waits for the first probes after start-up before it is told that no worker is there.
        first_probe_wait_ms: Millis = Millis(5_000);
    }
    "Keys" {
        /// File with the keys that clients must show, one a line: name, SHA-256 in hex, limits; off asks nobody for a key. See docs/operations.md.
        #[serde(deserialize_with = "from_text")]
        keys_file: Optional<FilePath> = Optional::OFF, main;
    }
    "Logs" {
        /// Where to write one JSON line for each request: stdout, stderr, a path, or off. A reload opens a path anew.
        #[serde(deserialize_with = "from_text")]
        access_log: Optional<Sink> = Optional::OFF, main, restart;
        /// Where to write requests for replay by `warmroute simulate --trace`: hashes of prompts, never their text. As access_log.
        #[serde(deserialize_with = "from_text")]
        request_log: Optional<Sink> = Optional::OFF, main, restart;
        /// Lines of each log that wait to be written; more are dropped and counted, so that a slow disk delays no request. About 4 MB.
        log_queue_lines: usize = 8_192, restart;
        /// Decisions that the admin API remembers; each takes about 500 bytes.
        recent_decisions: usize = 1_000, restart;
        /// URL of an OpenTelemetry collector that takes traces as OTLP over HTTP, such as http://127.0.0.1:4318, or off. Where it is off, a
        /// client's `traceparent` passes unchanged.
        #[serde(deserialize_with = "from_text")]
        otlp_endpoint: Optional<Collector> = Optional::OFF, restart;
        /// Percent of requests that are traced where the client sent no `traceparent`; where it did, that says whether.
        otlp_percent: u32 = 100, restart;
        /// Reload when the settings file or the keys file changes, and not only on SIGHUP.
        reload_on_change: bool = false, restart;
    }
}

/// Equal are settings that would be written alike.
impl PartialEq for GatewayConfig {
    fn eq(&self, other: &Self) -> bool {
        let alike = |setting: &Setting| (setting.value)(self) == (setting.value)(other);
        let lists =
            self.workers == other.workers && self.aliases == other.aliases && self.models == other.models;
        lists && SETTINGS.iter().all(alike)
    }
}

impl GatewayConfig {
    /// Reads a TOML file's text.
    ///
    /// # Errors
    /// On malformed TOML, unknown keys and values of the wrong type; the error names the line and the nearest name.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Ok(file::read(text)?)
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml), and if the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.display().to_string(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        file::read(&text).map_err(|bad| BadFile { path: Some(path.display().to_string()), ..bad }.into())
    }

    /// The settings that are not the same in `other`.
    pub fn changes(&self, other: &Self) -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| (setting.value)(self) != (setting.value)(other))
    }

    /// The same with all that cannot change while the gateway runs taken from `running`.
    pub(crate) fn over(&self, running: &Self) -> Self {
        let mut merged = self.clone();
        for setting in running.changes(self).filter(|setting| setting.is(Mark::restart)) {
            let value = (setting.value)(running);
            merged.set(setting.name, &value).expect("what a setting writes it also reads");
        }
        // Tokenizers are read when the gateway starts.
        merged.models.clone_from(&running.models);
        merged
    }

    /// Checks what no single value shows: that there can be workers, that bounds are usable and that the admin API is not open to all.
    ///
    /// # Errors
    /// Says which setting is wrong and what to do about it.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.workers.is_empty() && self.discover.0.is_empty() && self.admin_listen.0.is_none() {
            return Err(ConfigError::NoWorkers);
        }
        for (index, worker) in self.workers.iter().enumerate() {
            if self.workers[..index].iter().any(|earlier| earlier.url.authority() == worker.url.authority()) {
                return Err(ConfigError::DuplicateWorker { url: worker.url.clone() });
            }
        }
        for (index, AliasConfig { name, .. }) in self.aliases.iter().enumerate() {
            if self.aliases[..index].iter().any(|earlier| earlier.name == *name) {
                return Err(ConfigError::DuplicateAlias { name: name.clone() });
            }
        }
        for (index, ModelConfig { name, .. }) in self.models.iter().enumerate() {
            if self.models[..index].iter().any(|earlier| earlier.name == *name) {
                return Err(ConfigError::DuplicateModel { name: name.clone() });
            }
        }
        if !self.peers.0.is_empty() && self.admin_listen.0.is_none() {
            return Err(ConfigError::UnheardPeers);
        }
        let bounds = [
            ("text_chunk_bytes", self.text_chunk_bytes),
            ("router_bytes", self.router_bytes),
            ("max_body_bytes", self.max_body_bytes),
            ("max_connections", self.max_connections),
            ("max_attempts", self.max_attempts),
            ("unhealthy_after", self.unhealthy_after as usize),
            ("healthy_after", self.healthy_after as usize),
            ("log_queue_lines", self.log_queue_lines),
        ];
        if let Some((name, _)) = bounds.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero { name });
        }
        tls::for_clients(self)?;
        tls::for_operators(self)?;
        tls::for_workers(self.tls_ca.0.as_ref())?;
        let keys = self.all_keys()?;
        match self.admin_listen.0 {
            Some(address) if !address.ip().is_loopback() && !keys.has_admin() => {
                Err(ConfigError::OpenAdmin { address })
            }
            _ => Ok(()),
        }
    }

    /// The keys that clients must show: those of the environment and those of the file.
    pub(crate) fn all_keys(&self) -> Result<Keys, ConfigError> {
        Ok(match &self.keys_file.0 {
            Some(FilePath(path)) => self.keys.and_file(path)?,
            None => self.keys.clone(),
        })
    }
}

fn parse<T: FromStr<Err: fmt::Display>>(name: &str, value: &str) -> Result<T, ConfigError> {
    value.parse().map_err(|why: T::Err| ConfigError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        why: why.to_string(),
        about: SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .map_or("", |setting| setting.about.trim()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_defaults_and_a_flag_overrides_the_file() {
        let file = "listen = \"0.0.0.0:9000\"\npolicy = \"round_robin\"\nmax_attempts = 5\n[[workers]]\nurl = \"http://w:1\"";
        let mut config = GatewayConfig::from_toml(file).unwrap();
        config.set("max_attempts", "2").unwrap();
        assert_eq!(config.listen.port(), 9000);
        assert_eq!(config.policy.to_string(), "round_robin");
        assert_eq!(config.max_attempts, 2);
        assert_eq!(config.workers, ["http://w:1".parse().unwrap()]);
        assert_eq!(config.probe_interval_ms, GatewayConfig::default().probe_interval_ms);
    }

    #[test]
    fn every_setting_reads_its_own_default_back() {
        let mut config = GatewayConfig::default();
        for setting in SETTINGS {
            config.set(setting.name, &(setting.default)()).unwrap_or_else(|error| panic!("{error}"));
            assert!(setting.about.trim_end().ends_with('.'), "{} says nothing", setting.name);
        }
        assert_eq!(config, GatewayConfig::default());
    }

    #[test]
    fn mistakes_are_refused_with_a_hint() {
        let value = GatewayConfig::default().set("seed", "x").unwrap_err().to_string();
        assert!(value.contains("`x` is no value for seed") && value.contains("Seed of"), "{value}");
        let name = GatewayConfig::default().set("sed", "1").unwrap_err().to_string();
        assert!(name.contains("did you mean `seed`?"), "{name}");
        for url in ["ftp://a:1", "http://a:1/v1", "127.0.0.1:8001", "http://me@a:1"] {
            let error = url.parse::<WorkerConfig>().unwrap_err().to_string();
            assert!(error.contains(url) && error.contains("hint:"), "{error}");
        }
    }

    #[test]
    fn a_fleet_needs_workers_and_each_once() {
        let mut config = GatewayConfig::default();
        assert!(matches!(config.check(), Err(ConfigError::NoWorkers)));
        config.workers = vec!["http://a:1".parse().unwrap(), "http://a:1/".parse().unwrap()];
        assert!(matches!(config.check(), Err(ConfigError::DuplicateWorker { .. })));
        config.workers.pop();
        config.check().unwrap();
        config.max_attempts = 0;
        assert!(matches!(config.check(), Err(ConfigError::Zero { name: "max_attempts" })));
    }

    #[test]
    fn what_needs_a_restart_stays_as_it_runs() {
        let running = GatewayConfig::default();
        let file = "listen = \"127.0.0.1:1\"\nmax_attempts = 7\n[[workers]]\nurl = \"http://w:1\"";
        let told = GatewayConfig::from_toml(file).unwrap();
        let merged = told.over(&running);
        assert_eq!((merged.listen, merged.max_attempts, merged.workers.len()), (running.listen, 7, 1));
        let changed: Vec<_> = running.changes(&told).map(|setting| setting.name).collect();
        assert_eq!(changed, ["listen", "max_attempts"]);
    }

    #[test]
    fn gateways_that_hear_others_can_be_heard_themselves() {
        let mut config =
            GatewayConfig::from_toml("peers = \"http://a:1,http://b:1\"\n[[workers]]\nurl = \"http://w:1\"")
                .unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("hint: ") && error.contains("admin_listen"), "{error}");
        config.set("admin_listen", "127.0.0.1:9000").unwrap();
        config.check().unwrap();
    }

    #[test]
    fn an_admin_api_that_others_can_reach_needs_a_key() {
        let mut config = GatewayConfig::default();
        config.set("admin_listen", "0.0.0.0:9000").unwrap();
        assert!(matches!(config.check(), Err(ConfigError::OpenAdmin { .. })));
        config.set("admin_listen", "127.0.0.1:9000").unwrap();
        config.check().unwrap();
    }
}
