//! From a model's name to a model in memory: find its files, read its configuration, pack its weights.

mod checkpoint;
mod directory;
mod error;
mod gpt2;
mod llama;
mod shards;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(super) use checkpoint::{Checkpoint, Tensor};
pub(super) use directory::Architecture;
pub use error::LoadError;
pub(super) use gpt2::Gpt2Config;
pub(super) use llama::LlamaConfig;
pub(super) use warmroute_tokens::source::Blob;
use warmroute_tokens::source::{Files, Wanted, fetch};

use super::{LoadedModel, gguf};

/// No size in a configuration is above this: it keeps a mangled one from overflowing or exhausting memory.
const SIZE_LIMIT: usize = 1 << 22;

/// The embedded model's name and its files.
const EMBEDDED: (&str, &[(&str, &[u8])]) = (
    "warmroute-tiny",
    &[
        ("config.json", include_bytes!("../../../../../models/warmroute-tiny/config.json")),
        ("model.safetensors", include_bytes!("../../../../../models/warmroute-tiny/model.safetensors")),
        ("tokenizer.json", include_bytes!("../../../../../models/warmroute-tiny/tokenizer.json")),
        (
            "tokenizer_config.json",
            include_bytes!("../../../../../models/warmroute-tiny/tokenizer_config.json"),
        ),
    ],
);

/// Where to find a model. Parsed from `embedded` or `warmroute-tiny`, an existing path, or else a hub name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ModelSource {
    /// The small model inside this binary.
    Embedded,
    /// A Hugging Face directory, or a `.gguf` file.
    Path(PathBuf),
    /// A name on the Hugging Face hub, such as `distilbert/distilgpt2`.
    Hub(String),
}

impl FromStr for ModelSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "embedded" => Self::Embedded,
            _ if text == EMBEDDED.0 => Self::Embedded,
            _ if Path::new(text).exists() => Self::Path(text.into()),
            _ => Self::Hub(text.to_owned()),
        })
    }
}

/// Loads a model: reads, checks and packs its weights. Blocking, and takes from milliseconds to minutes.
pub fn load(source: &ModelSource) -> Result<LoadedModel, LoadError> {
    match source {
        ModelSource::Embedded => directory::load(EMBEDDED.0, &Files::Embedded(EMBEDDED.1)),
        ModelSource::Path(path) if path.is_dir() => {
            directory::load(&base_name(path), &Files::Directory(path.clone()))
        }
        ModelSource::Path(path) => single_file(path),
        ModelSource::Hub(name) => directory::load(name, &Files::Directory(fetch(name, Wanted::Model)?)),
    }
}

fn single_file(path: &Path) -> Result<LoadedModel, LoadError> {
    let blob = Blob::open(path)?;
    if !warmroute_tokens::gguf::recognises(&blob) {
        return Err(LoadError::malformed(
            blob.name(),
            "a model is a directory or a GGUF file, and this is neither",
        ));
    }
    gguf::load(base_name(path), &blob)
}

/// The name of a model that only has a path: its last part, without an extension.
fn base_name(path: &Path) -> String {
    let whole = path.canonicalize();
    let path = whole.as_deref().unwrap_or(path);
    path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// The network alone of a model directory, which needs no tokenizer then.
#[cfg(test)]
pub(super) fn network(directory: &Path) -> Result<super::Model, LoadError> {
    Ok(directory::load_network(&Files::Directory(directory.to_owned()))?.2)
}

#[cfg(test)]
mod tests;
