//! Why files of a model could not be read, in words its user can act on.

/// Why a tokenizer, or another file of a model, could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {file}: {source}; hint: check that the path exists and may be read")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that must be there is not.
    #[error(
        "{place} has no {file}; hint: a model directory needs tokenizer.json, and config.json and model.safetensors \
         where a worker is to run it"
    )]
    MissingFile {
        /// The directory or repository.
        place: String,
        /// The file.
        file: &'static str,
    },
    /// A file's content breaks its format.
    #[error("{file} is malformed: {reason}; hint: the download may be incomplete, fetch the file again")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tokenizer that cannot be rebuilt from a GGUF file.
    #[error(
        "{file}: {what} is not supported; hint: use a directory with the model's tokenizer.json instead of the GGUF file"
    )]
    Unsupported {
        /// The file that asks for it.
        file: String,
        /// What it asks for.
        what: String,
    },
    /// The hub did not give a model.
    #[error(
        "cannot fetch {name} from the model hub: {reason}; hint: offline, use `embedded`, a model \
         directory or a .gguf file, or fill the hub's cache (HF_HOME) beforehand; HF_ENDPOINT names a mirror"
    )]
    Hub {
        /// The model asked for.
        name: String,
        /// What the hub client said.
        reason: String,
    },
}

impl LoadError {
    /// Its content breaks its format.
    pub fn malformed(file: &str, reason: impl ToString) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn unsupported(file: &str, what: impl Into<String>) -> Self {
        Self::Unsupported { file: file.to_owned(), what: what.into() }
    }
}
