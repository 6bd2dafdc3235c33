//! Where tokenizers and chat templates come from: a directory as Hugging Face has them, a GGUF file, or the hub by name.

mod directory;
mod error;
mod files;
mod hub;

use std::path::{Path, PathBuf};

pub use self::directory::{Settings, codec, settings, template};
pub use self::error::LoadError;
pub use self::files::{Blob, Files};
pub use self::hub::{Wanted, fetch};
use crate::gguf::{self, Metadata};
use crate::prompt::PromptTokenizer;
use crate::template::ChatTemplate;

/// Where to find a tokenizer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A Hugging Face directory, or a `.gguf` file.
    Path(PathBuf),
    /// A name on the Hugging Face hub, such as `Qwen/Qwen3-8B`.
    Hub(String),
}

/// Loads a tokenizer and its chat template, or the one in the file `instead`. Blocking; takes up to a second, or a download.
///
/// # Errors
/// If something of it is missing, malformed or cannot be had.
pub fn load(source: &Source, instead: Option<&Path>) -> Result<PromptTokenizer, LoadError> {
    let (codec, own) = match source {
        Source::Hub(name) => from_directory(fetch(name, Wanted::Tokenizer)?)?,
        Source::Path(path) if path.is_dir() => from_directory(path.clone())?,
        Source::Path(path) => from_file(path)?,
    };
    let template = match instead {
        Some(path) => own.with_source(&text_of(path)?).map_err(|error| {
            LoadError::malformed(&path.display().to_string(), format!("chat template: {error}"))
        })?,
        None => own,
    };
    Ok(PromptTokenizer::new(codec, template))
}

type Both = (crate::text::TextCodec, ChatTemplate);

fn from_directory(path: PathBuf) -> Result<Both, LoadError> {
    let files = Files::Directory(path);
    let codec = codec(&files)?;
    Ok((codec, template(&files, settings(&files)?)?))
}

fn from_file(path: &Path) -> Result<Both, LoadError> {
    let blob = Blob::open(path)?;
    if !gguf::recognises(&blob) {
        return Err(LoadError::malformed(
            blob.name(),
            "a tokenizer is a directory with tokenizer.json or a GGUF file, and this is neither",
        ));
    }
    let header = gguf::head(&blob)?;
    let metadata = Metadata { file: blob.name(), entries: &header.metadata };
    let codec = gguf::codec(&metadata)?;
    let template = metadata.template(&codec)?;
    Ok((codec, template))
}

fn text_of(path: &Path) -> Result<String, LoadError> {
    let blob = Blob::open(path)?;
    String::from_utf8(blob.read_all()?.into_owned()).map_err(|error| LoadError::malformed(blob.name(), error))
}
