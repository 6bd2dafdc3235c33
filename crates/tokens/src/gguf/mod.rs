//! The head of a GGUF file, and the tokenizer and chat template in its metadata.

mod encoding;
pub mod header;
mod metadata;
mod tokenizer;

pub use encoding::Encoding;
pub use metadata::Metadata;

use std::io::BufReader;

use self::header::Header;
use crate::source::{Blob, LoadError};
use crate::text::TextCodec;

/// Whether a file begins as GGUF does.
pub fn recognises(blob: &Blob) -> bool {
    blob.read(0, 4).is_ok_and(|magic| magic.as_ref() == b"GGUF")
}

/// Reads a file's head.
///
/// # Errors
/// If it cannot be read or is malformed.
pub fn head(blob: &Blob) -> Result<Header, LoadError> {
    header::parse(BufReader::new(blob.reader()?), blob.length())
        .map_err(|error| LoadError::malformed(blob.name(), error))
}

/// The tokenizer that a file's metadata describes.
///
/// # Errors
/// If it describes none, or one of a kind that is not known.
pub fn codec(metadata: &Metadata<'_>) -> Result<TextCodec, LoadError> {
    let tokenizer = tokenizer::build(metadata)?;
    TextCodec::new(tokenizer).map_err(|error| LoadError::malformed(metadata.file, error))
}
