//! Why a model could not be loaded, in words its user can act on.

/// Why a model could not be loaded.
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
        "{place} has no {file}; hint: a model directory needs config.json, model.safetensors and \
         tokenizer.json"
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
    /// A tensor the architecture needs is not in the file.
    #[error(
        "{file} has no tensor {tensor}, expected with shape {expected:?}; hint: the checkpoint is of another \
         architecture than its configuration says, or was saved without a part"
    )]
    MissingTensor {
        /// The file.
        file: String,
        /// The tensor's name on the hub.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "{file}: tensor {tensor} has shape {found:?}, expected {expected:?}; hint: weights and \
         configuration are of different models"
    )]
    TensorShape {
        /// The file.
        file: String,
        /// The tensor's name on the hub.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A tensor holds a number arithmetic cannot go on from.
    #[error(
        "{file}: tensor {tensor} holds an infinity, a NaN or a number beyond its precision; hint: the \
         weights are damaged, fetch the file again"
    )]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor's name on the hub.
        tensor: String,
    },
    /// A model this worker cannot compute.
    #[error(
        "{file}: {what} is not supported; hint: this worker runs GPT-2 and Llama models without scaled \
         rotary positions"
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
    pub(in crate::model) fn malformed(file: &str, reason: impl ToString) -> Self {
        Self::Malformed { file: file.to_owned(), reason: reason.to_string() }
    }

    pub(in crate::model) fn unsupported(file: &str, what: impl Into<String>) -> Self {
        Self::Unsupported { file: file.to_owned(), what: what.into() }
    }
}
