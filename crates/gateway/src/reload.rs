//! Takes new settings in while the gateway runs: all of them are checked first, and a mistake changes nothing.
//!
//! Requests under way keep the settings they took. What the admin API changed stays until the settings themselves change the same thing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use warmroute_routing::policy::PolicyConfig;

use crate::config::{ConfigError, GatewayConfig, Mark, Setting};
use crate::front::Gateway;
use crate::sources::{Membership, Origin};
use crate::tls;
use crate::watch::Watch;

/// Where settings come from, so that they can be read again.
pub struct Origins {
    /// Reads all of them: file, environment and flags.
    pub load: Box<dyn Fn() -> Result<GatewayConfig, ConfigError> + Send + Sync>,
    /// The files that it reads.
    pub files: Vec<PathBuf>,
}

impl Origins {
    /// Settings that are always the same, but for the files that they name.
    pub fn fixed(config: &GatewayConfig) -> Self {
        let config = config.clone();
        Self { load: Box::new(move || Ok(config.clone())), files: Vec::new() }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that have another value now.
    pub changed: Vec<&'static str>,
    /// Settings that have another value in the file, and will have it here after a restart.
    pub after_restart: Vec<&'static str>,
}

/// Reads settings again and puts them in force.
pub(crate) struct Reloader {
    gateway: Arc<Gateway>,
    members: Arc<Membership>,
    origins: Origins,
    /// As they were read last; held during a reload, so that there is one at a time.
    read: Mutex<GatewayConfig>,
}

impl Reloader {
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        members: &Arc<Membership>,
        origins: Origins,
        config: GatewayConfig,
    ) -> Self {
        gateway.core.metrics.reloaded(true);
        let (gateway, members) = (Arc::clone(gateway), Arc::clone(members));
        Self { gateway, members, origins, read: Mutex::new(config) }
    }

    /// Reads all settings again. On a mistake everything stays as it is.
    pub(crate) fn reload(&self) -> Result<Reloaded, ConfigError> {
        let done = self.try_reload();
        self.gateway.core.metrics.reloaded(done.is_ok());
        match &done {
            Ok(Reloaded { changed, after_restart }) => {
                tracing::info!(?changed, "settings are reloaded");
                if !after_restart.is_empty() {
                    tracing::warn!(settings = ?after_restart, "these change when the gateway is started again");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the settings were not reloaded; those before stay in force")
            }
        }
        done
    }

    fn try_reload(&self) -> Result<Reloaded, ConfigError> {
        let mut read = self.read.lock();
        let told = (self.origins.load)()?;
        told.check()?;
        let keys = told.all_keys()?;
        let (to_clients, to_operators) = (tls::for_clients(&told)?, tls::for_operators(&told)?);
        let running = self.gateway.config.now();
        let names =
            |settings: Vec<&'static Setting>| settings.into_iter().map(|setting| setting.name).collect();
        let now: Vec<_> = read.changes(&told).filter(|setting| !setting.is(Mark::restart)).collect();

        let mut merged = told.over(&running);
        // Those who changed the policy by the admin API meant it, unless the settings say something new.
        if now.iter().all(|setting| setting.name != "policy") {
            merged.policy = running.policy.clone();
        } else {
            self.gateway.core.set_policy(&merged.policy);
        }
        self.gateway.config.replace(merged);
        self.gateway.keys.replace(&keys);
        self.gateway.shown.replace(to_clients);
        self.gateway.shown_to_operators.replace(to_operators);
        self.members.tell(&Origin::Settings, told.workers.clone());
        self.gateway.peers.follow(&told.peers);
        self.gateway.journal.reopen();
        let later = running.changes(&told).filter(|setting| setting.is(Mark::restart)).collect();
        let mut reloaded = Reloaded { changed: names(now), after_restart: names(later) };
        if running.models != told.models {
            reloaded.after_restart.push("models");
        }
        *read = told;
        Ok(reloaded)
    }

    /// Chooses by another policy until the settings name another one.
    pub(crate) fn set_policy(&self, policy: PolicyConfig) {
        let _one_at_a_time = self.read.lock();
        tracing::info!(%policy, "the policy is changed");
        self.gateway.core.set_policy(&policy);
        let mut config = GatewayConfig::clone(&self.gateway.config.now());
        config.policy = policy;
        self.gateway.config.replace(config);
    }

    /// Reloads whenever a file that is read has changed, for as long as it is polled.
    pub(crate) async fn follow_files(&self) {
        let mut files = self.origins.files.clone();
        let config = self.gateway.config.now();
        let certificates = [&config.tls_cert, &config.tls_key, &config.admin_tls_cert, &config.admin_tls_key];
        let named = certificates.into_iter().chain([&config.keys_file]);
        files.extend(named.filter_map(|file| Some(file.0.as_ref()?.0.clone())));
        if files.is_empty() {
            return;
        }
        let watch = Watch::new(&files);
        let content = || files.iter().map(|file| std::fs::read(file).ok()).collect::<Vec<_>>();
        // They may have changed between the start of the gateway and that of the watch.
        let mut known = Vec::new();
        loop {
            let found = content();
            if found != known {
                known = found;
                // What is wrong has been told.
                let _ = self.reload();
            }
            watch.changed().await;
        }
    }
}
