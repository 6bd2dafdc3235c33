//! `warmroute gateway`: the settings from a file, the environment and flags, and the gateway run on them.
//!
//! The flags are not written down here: there is one for each of the gateway's [`SETTINGS`], with its doc and default. Those that most
//! people need are in the short help, all of them in `--help-all`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use tokio::signal::unix::{SignalKind, signal};
use warmroute_gateway::{
    ConfigError, GatewayConfig, Keys, Mark, Origins, RunningGateway, SETTINGS, Setting, WorkerConfig,
};
use warmroute_routing::policy::POLICIES;

use crate::{Verdict, signals, sockets};

/// Run the gateway: OpenAI-compatible in, workers behind
#[derive(Args)]
#[command(after_help = MORE, after_long_help = policies())]
pub(crate) struct Flags {
    /// TOML file with the same settings, `max_attempts = 3` and so on, and `[[workers]]` tables; flags win
    #[arg(long, value_name = "FILE", env = "WARMROUTE_CONFIG")]
    config: Option<PathBuf>,
    /// A worker behind the gateway, such as http://127.0.0.1:8001; repeat or separate by commas
    #[arg(long = "worker", value_name = "URL", env = "WARMROUTE_WORKERS", value_delimiter = ',')]
    workers: Vec<WorkerConfig>,
    /// Say whether the settings make sense, and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: SettingFlags,
}

const MORE: &str = "\
Every setting is in --help-all and in docs/settings.md, and can be set in the environment: WARMROUTE_LISTEN for --listen.
SIGHUP reads the settings again; WARMROUTE_API_KEYS=name=key,.. asks clients for keys.";

/// Keys of clients, in the environment only: flags show in process lists.
const API_KEYS: &str = "WARMROUTE_API_KEYS";

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let config = flags.load()?;
    if flags.check {
        config.check()?;
        println!("{}", summary(&config));
        return Ok(Verdict::Well);
    }
    #[cfg(target_os = "linux")]
    crate::heap::hold_in_huge_pages();
    let (sockets, addresses) = sockets::inherited()?;
    let config = addresses.put_into(config);
    let files = flags.config.iter().cloned().collect();
    let origins = Origins { load: Box::new(move || Ok(addresses.put_into(flags.load()?))), files };
    let start = async { Ok(warmroute_gateway::start_on(config, origins, sockets).await?) };
    let stop = async |gateway: RunningGateway| gateway.shutdown().await;
    signals::serve_with(start, reload_on_hangup, stop).await?;
    Ok(Verdict::Well)
}

/// Reloads at every SIGHUP, for as long as it is polled.
async fn reload_on_hangup(gateway: &RunningGateway) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    while hangup.recv().await.is_some() {
        // What came of it is in the log.
        let _ = gateway.reload();
    }
    Ok(())
}

fn summary(config: &GatewayConfig) -> String {
    let changed: Vec<String> = config
        .changes(&GatewayConfig::default())
        .map(|setting| format!("\n  {} = {}", setting.name, (setting.value)(config)))
        .collect();
    let workers: Vec<String> = config.workers.iter().map(|worker| format!("\n  {}", worker.url)).collect();
    format!(
        "the settings make sense; those that differ from their defaults:{}\nworkers listed:{}",
        changed.concat(),
        workers.concat()
    )
}

impl Flags {
    /// The settings as file, environment and flags say now.
    fn load(&self) -> Result<GatewayConfig, ConfigError> {
        let mut config = match &self.config {
            None => GatewayConfig::default(),
            Some(path) => GatewayConfig::from_file(path)?,
        };
        if !self.workers.is_empty() {
            config.workers.clone_from(&self.workers);
        }
        for (name, value) in &self.settings.0 {
            config.set(name, value)?;
        }
        if let Ok(keys) = std::env::var(API_KEYS) {
            config.keys = Keys::from_pairs(&keys)?;
        }
        Ok(config)
    }
}

/// The settings given by flag or environment, by name.
struct SettingFlags(Vec<(&'static str, String)>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let all = SETTINGS.iter().fold(command, |command, setting| command.arg(flag(setting)));
        // What is flattened after this must not fall under the last heading.
        all.next_help_heading(None)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            |setting: &Setting| Some((setting.name, matches.get_one::<String>(setting.name)?.clone()));
        Ok(Self(SETTINGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let about = setting.about.trim().trim_end_matches('.');
    let default = (setting.default)();
    // The short help says what it is; why its default is what it is, the long one says.
    let short = about.split(';').next().unwrap_or(about);
    Arg::new(setting.name)
        .long(setting.name.replace('_', "-"))
        .value_name("VALUE")
        .env(format!("WARMROUTE_{}", setting.name.to_uppercase()))
        .hide_env(true)
        .help_heading(setting.group)
        .hide_short_help(!setting.is(Mark::main))
        .help(format!("{short} [default: {default}]"))
        .long_help(format!("{about} [default: {default}]"))
        .value_parser(move |value: &str| {
            // Tried on a copy of the defaults, so that a bad value is a usage error like any other flag's.
            GatewayConfig::default().set(setting.name, value).map(|()| value.to_owned())
        })
}

/// The registered policies with their options, one a line.
pub(crate) fn policies() -> String {
    let mut text = String::from("Policies, with options as in prefix_hash:chars=20 :\n");
    for policy in POLICIES {
        let _ = writeln!(text, "  {:14} {}", policy.name, policy.about);
        for option in policy.options {
            let _ =
                writeln!(text, "  {:16}{}: {} [default: {}]", "", option.name, option.about, option.default);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        flags: Flags,
    }

    /// As it prints, since settings do not compare.
    fn shown(config: &GatewayConfig) -> String {
        format!("{config:?}")
    }

    fn config(arguments: &[&str]) -> anyhow::Result<GatewayConfig> {
        Ok(Alone::try_parse_from([&["gateway"], arguments].concat())?.flags.load()?)
    }

    #[test]
    fn every_setting_is_a_flag_that_takes_its_own_default() {
        for setting in SETTINGS {
            let flag = format!("--{}={}", setting.name.replace('_', "-"), (setting.default)());
            assert_eq!(shown(&config(&[&flag]).unwrap()), shown(&GatewayConfig::default()), "{flag}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let path = std::env::temp_dir().join(format!("warmroute-{}.toml", std::process::id()));
        std::fs::write(&path, "max_attempts = 5\nseed = 9\n[[workers]]\nurl = \"http://file:1\"\n").unwrap();
        let file = format!("--config={}", path.display());
        let found = config(&[&file, "--max-attempts=2", "--worker", "http://a:1,http://b:1"]).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((found.max_attempts, found.seed), (2, 9));
        assert_eq!(found.workers, ["http://a:1".parse().unwrap(), "http://b:1".parse().unwrap()]);
        assert_eq!(found.max_connections, GatewayConfig::default().max_connections);
    }

    #[test]
    fn a_bad_value_is_refused_while_the_flags_are_read() {
        let error = config(&["--policy=warmest"]).unwrap_err().to_string();
        assert!(error.contains("warmest") && error.contains("hint:"), "{error}");
    }

    #[test]
    fn a_summary_says_what_is_not_as_usual() {
        let config = config(&["--max-attempts=2", "--worker=http://a:1"]).unwrap();
        let text = summary(&config);
        assert!(text.contains("\n  max_attempts = 2") && text.contains("\n  http://a:1"), "{text}");
        assert!(!text.contains("seed"), "{text}");
    }

    #[test]
    fn the_help_names_every_policy() {
        let help = <Alone as clap::CommandFactory>::command().render_long_help().to_string();
        for policy in POLICIES {
            assert!(help.contains(policy.name), "{} is missing in:\n{help}", policy.name);
        }
    }
}
