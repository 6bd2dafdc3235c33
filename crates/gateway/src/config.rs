//! Every setting of the gateway, declared once: the struct, its defaults, the TOML file and the flags all come from one table.
//!
//! A setting is a line in `settings!` below: its doc (what, unit, why this default), name, type and default. The file is read through
//! serde (`[gateway]`-less TOML, unknown keys refused); the command line walks [`SETTINGS`] for its flags and lays them over the
//! file with [`GatewayConfig::set`], so flags win and a setting cannot exist in one place and be missing in the other.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use serde::{Deserialize, Deserializer};
use warmroute_routing::policy::PolicyConfig;

/// A span of time as written in the settings: whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The same span as the standard library's type.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Millis {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What is known about one setting besides its value; the command line and the reference page are made from these.
#[derive(Debug)]
pub struct Setting {
    /// Name in the file; the flag is the same with dashes.
    pub name: &'static str,
    /// What it does, its unit and the reason for its default.
    pub about: &'static str,
    /// The default as it would be written.
    pub default: fn() -> String,
    /// What it is in a configuration, as it would be written.
    pub value: fn(&GatewayConfig) -> String,
}

macro_rules! settings {
    ($($(#[doc = $about:literal])+ $(#[serde($($serde:tt)+)])? $name:ident: $kind:ty = $default:expr;)+) => {
        /// Everything the gateway can be told; see [`SETTINGS`] for the same as a table.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct GatewayConfig {
            /// The workers behind the gateway, `[[workers]]` in the file; at least one.
            pub workers: Vec<WorkerConfig>,
            $($(#[doc = $about])+ $(#[serde($($serde)+)])? pub $name: $kind,)+
        }

        impl Default for GatewayConfig {
            fn default() -> Self {
                Self { workers: Vec::new(), $($name: $default,)+ }
            }
        }

        /// All settings but the list of workers, in the order they are declared.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            about: concat!($($about),+),
            default: || { let default: $kind = $default; default.to_string() },
            value: |config| config.$name.to_string(),
        },)+];

        impl GatewayConfig {
            /// Lays one flag over the settings.
            ///
            /// # Errors
            /// When there is no setting of that name or the value does not parse as its type.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
                match name {
                    $(stringify!($name) => self.$name = parse(name, value)?,)+
                    _ => return Err(ConfigError::Unknown { name: name.to_owned() }),
                }
                Ok(())
            }
        }
    };
}

settings! {
    /// Address and port to listen on; loopback unless told otherwise, so that a trial run is never open to the network.
    listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8000));
    /// Routing policy and its options, such as `cache_aware` or `prefix_hash:chars=20`.
    #[serde(deserialize_with = "from_text")]
    policy: PolicyConfig = PolicyConfig::default();
    /// Seed of the policies' random choices; the same seed and arrivals give the same decisions.
    seed: u64 = 0;
    /// Bytes of prompt text hashed into one block: about four 16-token blocks of the engines. Smaller ones know better where prompts
    /// part, by a few dozen tokens, and cost time and memory for each.
    text_chunk_bytes: usize = 256;
    /// Bytes of memory for what the router believes that workers' caches hold, a hard bound; 256 MiB are 700,000 blocks, the caches of a
    /// hundred GPUs. Less of it costs hits, and nothing else.
    router_bytes: usize = 256 * 1024 * 1024;
    /// Largest request body in bytes, answered with 413 beyond; 64 MiB holds a million-token prompt with room for images.
    max_body_bytes: usize = 64 * 1024 * 1024;
    /// Threads that serve connections, each its own; 0 is one for each processor. Each fills about one processor when it is busy.
    threads: usize = 0;
    /// Most client connections at once; the next one waits in the listen queue. Each costs about 20 kB, so this is 320 MB at worst.
    max_connections: usize = 16_384;
    /// Most workers tried for one request before its first byte; beyond three, the fleet has a problem no retry solves.
    max_attempts: usize = 3;
    /// Milliseconds to open a connection to a worker; more than one lost SYN (1 s) and far below clients' patience.
    connect_timeout_ms: Millis = Millis(2_000);
    /// Milliseconds a client's connection may be idle or in the middle of a request head; above the 60 to 90 s for which proxies keep theirs.
    client_idle_timeout_ms: Millis = Millis(120_000);
    /// Milliseconds for a client to send its whole request body; 64 MiB on a 20 Mbit/s line take 27 s.
    body_timeout_ms: Millis = Millis(60_000);
    /// Milliseconds until a worker's first body byte; ten minutes, as OpenAI's own clients wait, since an unstreamed answer is one piece.
    first_byte_timeout_ms: Millis = Millis(600_000);
    /// Milliseconds between two pieces of a worker's answer; engines send one per token, but preemption may stall one for long.
    idle_timeout_ms: Millis = Millis(120_000);
    /// Milliseconds an idle connection to a worker is kept; below vLLM's keep-alive of 5 s, so that the worker never closes one as we use it.
    pool_idle_timeout_ms: Millis = Millis(4_000);
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
    /// Milliseconds to keep serving with `/readyz` at 503 before the listener closes; set it to what a load balancer in front needs to notice.
    drain_delay_ms: Millis = Millis(0);
    /// Milliseconds running requests may take to end in a drain; below Kubernetes' 30 s, after which it kills.
    drain_grace_ms: Millis = Millis(25_000);
}

/// Equal are settings that would be written alike.
impl PartialEq for GatewayConfig {
    fn eq(&self, other: &Self) -> bool {
        let alike = |setting: &Setting| (setting.value)(self) == (setting.value)(other);
        self.workers == other.workers && SETTINGS.iter().all(alike)
    }
}

impl GatewayConfig {
    /// Reads a TOML file's text.
    ///
    /// # Errors
    /// On malformed TOML, unknown keys and values of the wrong type; the error shows the line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Ok(toml::from_str(text)?)
    }

    /// Checks what no single value shows: that there are workers and that bounds are usable.
    ///
    /// # Errors
    /// Says which setting is wrong and what to do about it.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.workers.is_empty() {
            return Err(ConfigError::NoWorkers);
        }
        for (index, worker) in self.workers.iter().enumerate() {
            if self.workers[..index].iter().any(|earlier| earlier.url == worker.url) {
                return Err(ConfigError::DuplicateWorker { url: worker.url.clone() });
            }
        }
        let bounds = [
            ("text_chunk_bytes", self.text_chunk_bytes),
            ("router_bytes", self.router_bytes),
            ("max_body_bytes", self.max_body_bytes),
            ("max_connections", self.max_connections),
            ("max_attempts", self.max_attempts),
            ("unhealthy_after", self.unhealthy_after as usize),
            ("healthy_after", self.healthy_after as usize),
        ];
        match bounds.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(ConfigError::Zero { name }),
            None => Ok(()),
        }
    }
}

/// One worker behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Where its OpenAI API is.
    pub url: WorkerUrl,
}

impl FromStr for WorkerConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Ok(Self { url: text.parse()? })
    }
}

/// A worker's base address, `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerUrl(Authority);

impl WorkerUrl {
    /// Host and port: the worker's name in headers, metrics and logs.
    pub fn authority(&self) -> &Authority {
        &self.0
    }
}

impl FromStr for WorkerUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |why| ConfigError::WorkerUrl { url: text.to_owned(), why };
        let uri: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        let parts = uri.into_parts();
        if parts.scheme != Some(http::uri::Scheme::HTTP) {
            return Err(wrong("it does not start with http://"));
        }
        if parts.path_and_query.is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("it has a path; the gateway adds /v1/... itself"));
        }
        let authority = parts.authority.ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it carries a user name, which would show in headers and logs"));
        }
        Ok(Self(authority))
    }
}

impl fmt::Display for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl<'de> Deserialize<'de> for WorkerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not what it should be.
    #[error(
        "the settings file cannot be read: {0}\nhint: the error above shows the line; every key is listed by `warmroute gateway --help`"
    )]
    Toml(#[from] toml::de::Error),
    /// A flag for which there is no setting.
    #[error("there is no setting `{name}`; hint: `warmroute gateway --help` lists them")]
    Unknown {
        /// As it was given.
        name: String,
    },
    /// A value that is not of the setting's type.
    #[error("`{value}` is no value for {name}: {why}; hint: {about}")]
    Value {
        /// The setting.
        name: String,
        /// What it was given.
        value: String,
        /// The parser's complaint.
        why: String,
        /// The setting's own documentation.
        about: &'static str,
    },
    /// A bound of nothing.
    #[error("{name} is 0, which would refuse everything; hint: leave it out for the default")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// An address we cannot send requests to.
    #[error("worker `{url}` cannot be used: {why}; hint: write it like http://127.0.0.1:8001")]
    WorkerUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody to send requests to.
    #[error(
        "no worker is configured; hint: add --worker http://127.0.0.1:8001 or a [[workers]] table with its url"
    )]
    NoWorkers,
    /// The same address twice would halve every count of it.
    #[error("worker {url} is listed twice; hint: remove one of the two")]
    DuplicateWorker {
        /// The address.
        url: WorkerUrl,
    },
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

/// Reads a TOML string through the type's own parser.
fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
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
        let told = |result: Result<GatewayConfig, ConfigError>| result.unwrap_err().to_string();
        let unknown = told(GatewayConfig::from_toml("listne = \"0.0.0.0:1\""));
        assert!(
            unknown.contains("line 1") && unknown.contains("listne") && unknown.contains("hint:"),
            "{unknown}"
        );
        let policy = told(GatewayConfig::from_toml("policy = \"warmest\""));
        assert!(policy.contains("warmest"), "{policy}");
        let value = GatewayConfig::default().set("seed", "x").unwrap_err().to_string();
        assert!(value.contains("`x` is no value for seed") && value.contains("Seed of"), "{value}");
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
}
