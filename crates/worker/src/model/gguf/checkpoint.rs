//! A GGUF file's tensors under the hub's names and in the hub's layouts.
//!
//! llama.cpp's converter renames tensors, transposes GPT-2's `Conv1D` weights, and reorders the rows of
//! Llama's query and key projections, because its rotary positions pair neighbouring dimensions where the
//! hub's pair the two halves. All of that is undone here, so that the model builders know one form only.

use std::collections::BTreeMap;

use warmroute_tokens::gguf::header::TensorPlace;

use super::quantised::{precision, widen};
use crate::model::load::{Blob, Checkpoint, LoadError, Tensor};

/// The tensors of one file.
pub(super) struct GgufCheckpoint<'a> {
    pub blob: &'a Blob,
    pub tensors: &'a BTreeMap<String, TensorPlace>,
    /// Query heads and key-value heads, for the reordering; absent in GPT-2, which has none.
    pub rotary_heads: Option<(usize, usize)>,
}

/// Parts of a name outside of layers, by the hub's name and the file's.
const OUTSIDE: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("wte", "token_embd"),
    ("wpe", "position_embd"),
    ("ln_f", "output_norm"),
];

/// Parts of a layer, by the hub's name and the file's.
const IN_LAYER: &[(&str, &str, Change)] = &[
    ("input_layernorm", "attn_norm", Change::None),
    ("self_attn.q_proj", "attn_q", Change::QueryRows),
    ("self_attn.k_proj", "attn_k", Change::KeyRows),
    ("self_attn.v_proj", "attn_v", Change::None),
    ("self_attn.o_proj", "attn_output", Change::None),
    ("post_attention_layernorm", "ffn_norm", Change::None),
    ("mlp.gate_proj", "ffn_gate", Change::None),
    ("mlp.up_proj", "ffn_up", Change::None),
    ("mlp.down_proj", "ffn_down", Change::None),
    ("ln_1", "attn_norm", Change::None),
    ("attn.c_attn", "attn_qkv", Change::Transposed),
    ("attn.c_proj", "attn_output", Change::Transposed),
    ("ln_2", "ffn_norm", Change::None),
    ("mlp.c_fc", "ffn_up", Change::Transposed),
    ("mlp.c_proj", "ffn_down", Change::Transposed),
];

/// What the converter did to a weight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    None,
    Transposed,
    QueryRows,
    KeyRows,
}

/// The file's name for a tensor of the hub, and what was done to it.
fn translate(name: &str) -> Option<(String, Change)> {
    let (part, kind) = name.rsplit_once('.')?;
    if let Some((_, theirs)) = OUTSIDE.iter().find(|(hub, _)| *hub == part) {
        return Some((format!("{theirs}.{kind}"), Change::None));
    }
    let rest = part.strip_prefix("model.layers.").or_else(|| part.strip_prefix("h."))?;
    let (layer, part) = rest.split_once('.')?;
    let (_, theirs, change) = IN_LAYER.iter().find(|(hub, ..)| *hub == part)?;
    let change = if kind == "weight" { *change } else { Change::None };
    Some((format!("blk.{layer}.{theirs}.{kind}"), change))
}

impl Checkpoint for GgufCheckpoint<'_> {
    fn file(&self) -> &str {
        self.blob.name()
    }

    fn tensor(&self, name: &str) -> Result<Option<Tensor>, LoadError> {
        let Some((theirs, change)) = translate(name) else { return Ok(None) };
        let Some(place) = self.tensors.get(&theirs) else { return Ok(None) };
        let bytes = self.blob.read(place.start, place.length)?;
        let tensor = Tensor {
            shape: place.shape.clone(),
            values: widen(place.encoding, &bytes),
            precision: precision(place.encoding),
        };
        Ok(Some(match (change, self.rotary_heads) {
            (Change::Transposed, _) => transposed(tensor),
            (Change::QueryRows, Some((heads, _))) | (Change::KeyRows, Some((_, heads))) => {
                paired_by_halves(tensor, heads)
            }
            _ => tensor,
        }))
    }
}

fn transposed(tensor: Tensor) -> Tensor {
    let &[rows, columns] = &tensor.shape[..] else { return tensor };
    let values = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
    let values = values.map(|index| tensor.values[index]).collect();
    Tensor { shape: vec![columns, rows], values, precision: tensor.precision }
}

/// Puts rows `2i` and `2i + 1` of each head back to `i` and `half + i`.
fn paired_by_halves(tensor: Tensor, heads: usize) -> Tensor {
    let &[rows, columns] = &tensor.shape[..] else { return tensor };
    if heads == 0 || !rows.is_multiple_of(2 * heads) {
        // Not the shape the builder expects; it will say so.
        return tensor;
    }
    let half = rows / heads / 2;
    let order = (0..heads).flat_map(|head| {
        (0..2).flat_map(move |odd| (0..half).map(move |pair| (head * half + pair) * 2 + odd))
    });
    let values = order.flat_map(|row| tensor.values[row * columns..][..columns].iter().copied()).collect();
    Tensor { values, ..tensor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::compute::Precision;

    #[test]
    fn names_of_layers_and_of_the_rest_are_translated() {
        let translated = |name| translate(name).map(|(theirs, _)| theirs);
        assert_eq!(
            translated("model.layers.12.mlp.down_proj.weight").as_deref(),
            Some("blk.12.ffn_down.weight")
        );
        assert_eq!(translated("h.0.attn.c_attn.bias").as_deref(), Some("blk.0.attn_qkv.bias"));
        assert_eq!(translated("ln_f.bias").as_deref(), Some("output_norm.bias"));
        assert_eq!(translated("transformer.wpe.weight"), None);
    }

    #[test]
    fn rows_of_a_head_go_back_to_their_halves() {
        let values = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 10.0, 13.0, 11.0, 14.0, 12.0, 15.0].to_vec();
        let tensor = Tensor { shape: vec![12, 1], values, precision: Precision::Half };
        let expected = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
        assert_eq!(paired_by_halves(tensor, 2).values, expected);
    }
}
