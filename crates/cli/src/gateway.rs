//! `warmroute gateway`: the settings from a file, the environment and flags, and the gateway run on them.
//!
//! The flags are not written down here: there is one for each of the gateway's [`SETTINGS`], with its doc and default.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use warmroute_gateway::{GatewayConfig, SETTINGS, Setting, WorkerConfig};
use warmroute_routing::policy::POLICIES;

use crate::{Verdict, signals};

/// Run the gateway: OpenAI-compatible in, workers behind
#[derive(Args)]
pub(crate) struct Flags {
    /// TOML file with the same settings, `max_attempts = 3` and so on, and `[[workers]]` tables; flags win
    #[arg(long, value_name = "FILE", env = "WARMROUTE_CONFIG")]
    config: Option<PathBuf>,
    /// A worker behind the gateway, such as http://127.0.0.1:8001; repeat or separate by commas
    #[arg(long = "worker", value_name = "URL", env = "WARMROUTE_WORKERS", value_delimiter = ',')]
    workers: Vec<WorkerConfig>,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(crate) async fn run(flags: Flags) -> anyhow::Result<Verdict> {
    let config = flags.into_config()?;
    let start = async { Ok(warmroute_gateway::start(config).await?) };
    signals::serve(start, async |gateway: warmroute_gateway::RunningGateway| gateway.shutdown().await)
        .await?;
    Ok(Verdict::Well)
}

impl Flags {
    fn into_config(self) -> anyhow::Result<GatewayConfig> {
        let mut config = match &self.config {
            None => GatewayConfig::default(),
            Some(path) => {
                let named = || format!("{}: hint: give --config a readable TOML file", path.display());
                let text = std::fs::read_to_string(path).with_context(named)?;
                GatewayConfig::from_toml(&text).with_context(|| path.display().to_string())?
            }
        };
        if !self.workers.is_empty() {
            config.workers = self.workers;
        }
        for (name, value) in &self.settings.0 {
            config.set(name, value)?;
        }
        Ok(config)
    }
}

/// The settings given by flag or environment, by name.
struct SettingFlags(Vec<(&'static str, String)>);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        SETTINGS.iter().fold(command, |command, setting| command.arg(flag(setting)))
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
    let help = format!("{about} [default: {default}]");
    let arg = Arg::new(setting.name)
        .long(setting.name.replace('_', "-"))
        .value_name("VALUE")
        .env(format!("WARMROUTE_{}", setting.name.to_uppercase()))
        .value_parser(move |value: &str| {
            // Tried on a copy of the defaults, so that a bad value is a usage error like any other flag's.
            GatewayConfig::default().set(setting.name, value).map(|()| value.to_owned())
        });
    if setting.name == "policy" {
        arg.long_help(format!("{help}\n\n{}", policies())).help(help)
    } else {
        arg.help(help)
    }
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
        Alone::try_parse_from([&["gateway"], arguments].concat())?.flags.into_config()
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
    fn the_help_names_every_policy() {
        let help = <Alone as clap::CommandFactory>::command().render_long_help().to_string();
        for policy in POLICIES {
            assert!(help.contains(policy.name), "{} is missing in:\n{help}", policy.name);
        }
    }
}
