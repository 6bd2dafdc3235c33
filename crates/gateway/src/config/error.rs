//! Why settings were refused: what is wrong with which of them, where, and what to do about it.

use std::fmt;

use super::worker::WorkerUrl;

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read at all.
    #[error("{path} cannot be read: {source}; hint: give --config a readable TOML file")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error(transparent)]
    File(#[from] BadFile),
    /// A flag for which there is no setting.
    #[error("there is no setting `{name}`; hint: {hint}")]
    Unknown {
        /// As it was given.
        name: String,
        /// The nearest that there is.
        hint: String,
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
        "no worker is configured; hint: add --worker http://127.0.0.1:8001, a [[workers]] table with its url, --discover or --admin-listen"
    )]
    NoWorkers,
    /// The same address twice would halve every count of it.
    #[error("worker {url} is listed twice; hint: remove one of the two")]
    DuplicateWorker {
        /// The address.
        url: WorkerUrl,
    },
    /// A name that would mean two things.
    #[error("the alias `{name}` is listed twice; hint: remove one of the two")]
    DuplicateAlias {
        /// The name.
        name: String,
    },
    /// A model with two tokenizers.
    #[error("the model `{name}` is listed twice; hint: remove one of the two")]
    DuplicateModel {
        /// The model.
        name: String,
    },
    /// The admin API where everybody can reach it, and nobody need show a key.
    #[error(
        "admin_listen is {address}, which others can reach, and no key is an admin's; hint: listen on 127.0.0.1, or add a key with `admin` to keys_file"
    )]
    OpenAdmin {
        /// The address.
        address: std::net::SocketAddr,
    },
    /// Other gateways are to be heard by one that they cannot hear.
    #[error(
        "peers are listed, and they could not hear this gateway; hint: set admin_listen, where they are told"
    )]
    UnheardPeers,
    /// The files for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::BadTls),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] crate::keys::BadKeys),
}

/// What is wrong with a settings file, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFile {
    /// The file, if it is one.
    pub path: Option<String>,
    /// The line, from 1; `None` if nobody can tell.
    pub line: Option<usize>,
    /// What stands there.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
    /// The next step.
    pub hint: String,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}, ")?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: `{}`: ", self.text)?;
        }
        // Some parsers of single values give a hint of their own, which is nearer to the point.
        match self.why.contains("hint: ") {
            true => f.write_str(&self.why),
            false => write!(f, "{}; hint: {}", self.why, self.hint),
        }
    }
}

impl std::error::Error for BadFile {}
