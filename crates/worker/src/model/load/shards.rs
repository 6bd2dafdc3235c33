//! Checkpoints in safetensors files, one or a set of shards. Only headers are kept; a tensor is read when
//! asked for.

use std::collections::BTreeMap;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;
use warmroute_tokens::source::{Blob, Files};

use super::LoadError;
use super::checkpoint::{Checkpoint, Tensor};
use crate::model::compute::Precision;

/// Longest header accepted; the format's own limit.
const HEADER_LIMIT: u64 = 100 << 20;

/// One or more safetensors files as one checkpoint.
pub(super) struct Shards {
    files: Vec<Shard>,
    /// In an error, the file for what is in none of them.
    name: String,
}

struct Shard {
    blob: Blob,
    /// Where the tensors' offsets count from.
    start: u64,
    metadata: Metadata,
}

/// The part of `model.safetensors.index.json` that says which shards there are.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// `model.safetensors`, or what `model.safetensors.index.json` names.
    pub(super) fn open(files: &Files) -> Result<Self, LoadError> {
        const SINGLE: &str = "model.safetensors";
        const INDEX: &str = "model.safetensors.index.json";
        if let Some(blob) = files.open(SINGLE)? {
            return Ok(Self { name: blob.name().to_owned(), files: vec![Shard::open(blob)?] });
        }
        let Some(index) = files.open(INDEX)? else {
            return Err(
                warmroute_tokens::LoadError::MissingFile { place: files.place(), file: SINGLE }.into()
            );
        };
        let parsed: Index = serde_json::from_slice(&index.read_all()?)
            .map_err(|error| LoadError::malformed(index.name(), error))?;
        let mut names: Vec<&str> = parsed.weight_map.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let shards = names.into_iter().map(|name| {
            // The index is a stranger's: it may not point out of the directory.
            if name.contains(['/', '\\']) {
                return Err(LoadError::malformed(
                    index.name(),
                    format!("shard {name:?} is not a plain file name"),
                ));
            }
            let missing =
                || LoadError::malformed(index.name(), format!("it names {name}, which is not there"));
            Shard::open(files.open(name)?.ok_or_else(missing)?)
        });
        Ok(Self { files: shards.collect::<Result<_, _>>()?, name: index.name().to_owned() })
    }
}

impl Checkpoint for Shards {
    fn file(&self) -> &str {
        &self.name
    }

    fn tensor(&self, name: &str) -> Result<Option<Tensor>, LoadError> {
        for shard in &self.files {
            if let Some(info) = shard.metadata.info(name) {
                return shard.read(name, info).map(Some);
            }
        }
        Ok(None)
    }
}

impl Shard {
    fn open(blob: Blob) -> Result<Self, LoadError> {
        let malformed = |reason: &str| LoadError::malformed(blob.name(), reason);
        let Some(data_length) = blob.length().checked_sub(8) else {
            return Err(malformed("shorter than its header's length"));
        };
        let length: [u8; 8] = blob.read(0, 8)?.as_ref().try_into().expect("eight bytes were asked for");
        let length = u64::from_le_bytes(length);
        if length > HEADER_LIMIT.min(data_length) {
            return Err(malformed("the header is longer than the file or the format allows"));
        }
        let header = blob.read(8, usize::try_from(length).expect("below HEADER_LIMIT"))?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| LoadError::malformed(blob.name(), error))?;
        if metadata.data_len() as u64 != data_length - length {
            return Err(malformed("the tensors do not add up to the file's length"));
        }
        Ok(Self { start: 8 + length, metadata, blob })
    }

    fn read(&self, name: &str, info: &TensorInfo) -> Result<Tensor, LoadError> {
        // `Metadata` has checked that offsets ascend, fit the data and agree with shape and type.
        let (start, end) = info.data_offsets;
        let bytes = self.blob.read(self.start + start as u64, end - start)?;
        let halves = || bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        let (values, precision) = match info.dtype {
            Dtype::F32 => (
                bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
                Precision::Single,
            ),
            Dtype::F16 => (halves().map(f16::from_bits).collect::<Vec<_>>().to_f32_vec(), Precision::Half),
            Dtype::BF16 => {
                (halves().map(bf16::from_bits).collect::<Vec<_>>().to_f32_vec(), Precision::Single)
            }
            other => {
                return Err(LoadError::unsupported(
                    self.blob.name(),
                    format!("tensor {name} of type {other:?}"),
                ));
            }
        };
        Ok(Tensor { shape: info.shape.clone(), values, precision })
    }
}
