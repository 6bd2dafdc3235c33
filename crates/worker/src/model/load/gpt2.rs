//! GPT-2: learned positions, layer norms, biases everywhere, one head width for queries and keys.
//!
//! Tensor names as in the hub's checkpoints, with or without `transformer.` before them. Their causal mask
//! buffers (`attn.bias`, `attn.masked_bias`) are not weights and are never asked for.

use serde::Deserialize;

use super::checkpoint::{Checkpoint, Layout, Parts};
use super::{LoadError, SIZE_LIMIT};
use crate::model::compute::Activation;
use crate::model::decoder::{Layer, Linear, Model, Positions};
use crate::model::store::KvShape;

/// What `config.json` says of a GPT-2 model.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::model) struct Gpt2Config {
    pub vocab_size: usize,
    pub n_positions: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub n_inner: Option<usize>,
    #[serde(default = "gelu_new")]
    pub activation_function: String,
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f32,
    #[serde(default)]
    pub scale_attn_by_inverse_layer_idx: bool,
    #[serde(default = "yes")]
    pub scale_attn_weights: bool,
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
}

fn gelu_new() -> String {
    "gelu_new".to_owned()
}

fn default_epsilon() -> f32 {
    1e-5
}

fn yes() -> bool {
    true
}

impl Gpt2Config {
    /// Reads the model from a checkpoint.
    pub(in crate::model) fn build(
        &self,
        file: &str,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Model, LoadError> {
        self.check(file)?;
        let bare = checkpoint.tensor("wpe.weight")?.is_some();
        let parts = Parts { checkpoint, prefix: if bare { "" } else { "transformer." } };
        let width = self.n_embd;
        let head = if self.tie_word_embeddings {
            None
        } else {
            let parts = Parts { checkpoint, prefix: "" };
            Some(parts.embedding("lm_head.weight", self.vocab_size, width)?)
        };
        Ok(Model {
            shape: KvShape { layers: self.n_layer, kv_heads: self.n_head, head_width: width / self.n_head },
            heads: self.n_head,
            embedding: parts.embedding("wte.weight", self.vocab_size, width)?,
            positions: Positions::Learned(parts.embedding("wpe.weight", self.n_positions, width)?),
            layers: (0..self.n_layer).map(|layer| self.layer(layer, &parts)).collect::<Result<_, _>>()?,
            norm: parts.layer_norm("ln_f", width, self.layer_norm_epsilon)?,
            head,
        })
    }

    fn check(&self, file: &str) -> Result<(), LoadError> {
        if self.activation_function != "gelu_new" {
            return Err(LoadError::unsupported(file, format!("activation {:?}", self.activation_function)));
        }
        if self.scale_attn_by_inverse_layer_idx || !self.scale_attn_weights {
            return Err(LoadError::unsupported(file, "a GPT-2 variant with other attention scaling"));
        }
        let sizes = [self.vocab_size, self.n_positions, self.n_embd, self.n_layer, self.n_head];
        if sizes.iter().any(|size| *size == 0 || *size > SIZE_LIMIT)
            || !self.n_embd.is_multiple_of(self.n_head)
        {
            return Err(LoadError::malformed(
                file,
                "a size is zero or absurd, or n_embd is not a multiple of n_head",
            ));
        }
        Ok(())
    }

    fn layer(&self, layer: usize, parts: &Parts<'_>) -> Result<Layer, LoadError> {
        let width = self.n_embd;
        let inner = self.n_inner.unwrap_or(4 * width);
        let linear = |name: &str, inputs: usize, outputs: usize| -> Result<Linear, LoadError> {
            let matrix =
                parts.matrix(&format!("h.{layer}.{name}.weight"), (inputs, outputs), Layout::InputRows)?;
            Ok(Linear { matrix, bias: Some(parts.vector(&format!("h.{layer}.{name}.bias"), outputs)?) })
        };
        let norm =
            |name: &str| parts.layer_norm(&format!("h.{layer}.{name}"), width, self.layer_norm_epsilon);
        Ok(Layer {
            attention_norm: norm("ln_1")?,
            attention_in: linear("attn.c_attn", width, 3 * width)?,
            attention_out: linear("attn.c_proj", width, width)?,
            feed_norm: norm("ln_2")?,
            feed_in: linear("mlp.c_fc", width, inner)?,
            activation: Activation::Gelu,
            feed_out: linear("mlp.c_proj", inner, width)?,
        })
    }
}
