//! Why a model could not be loaded, in words its user can act on.

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing, unreadable or broken, whatever it is for.
    #[error(transparent)]
    File(#[from] warmroute_tokens::LoadError),
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
}

impl LoadError {
    pub(in crate::model) fn malformed(file: &str, reason: impl ToString) -> Self {
        Self::File(warmroute_tokens::LoadError::malformed(file, reason))
    }

    pub(in crate::model) fn unsupported(file: &str, what: impl Into<String>) -> Self {
        Self::Unsupported { file: file.to_owned(), what: what.into() }
    }
}
