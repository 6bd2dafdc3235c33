//! Llama: rotary positions, RMS norms, no biases, query heads that share keys, a gated feed-forward.

use serde::Deserialize;
use serde_json::Value;

use super::checkpoint::{Checkpoint, Layout, Parts};
use super::{LoadError, SIZE_LIMIT};
use crate::model::compute::Activation;
use crate::model::decoder::{Layer, Linear, Model, Positions};
use crate::model::rotary::Rotary;
use crate::model::store::KvShape;

/// What `config.json` says of a Llama model.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::model) struct LlamaConfig {
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub rms_norm_eps: f32,
    #[serde(default = "silu")]
    pub hidden_act: String,
    /// Before transformers 5; after it in `rope_parameters`.
    pub rope_theta: Option<f32>,
    pub rope_scaling: Option<Value>,
    pub rope_parameters: Option<RopeParameters>,
    #[serde(default)]
    pub attention_bias: bool,
    #[serde(default)]
    pub mlp_bias: bool,
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

/// Where transformers 5 keeps the rotary settings.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::model) struct RopeParameters {
    pub rope_theta: Option<f32>,
    pub rope_type: Option<String>,
}

fn silu() -> String {
    "silu".to_owned()
}

impl LlamaConfig {
    /// Heads of keys and values.
    pub(in crate::model) fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    fn head_width(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    fn theta(&self) -> f32 {
        let newer = self.rope_parameters.as_ref().and_then(|parameters| parameters.rope_theta);
        newer.or(self.rope_theta).unwrap_or(10_000.0)
    }

    /// Reads the model from a checkpoint.
    pub(in crate::model) fn build(
        &self,
        file: &str,
        checkpoint: &dyn Checkpoint,
    ) -> Result<Model, LoadError> {
        self.check(file)?;
        let parts = Parts { checkpoint, prefix: "model." };
        let width = self.hidden_size;
        let head = if self.tie_word_embeddings {
            None
        } else {
            let parts = Parts { checkpoint, prefix: "" };
            Some(parts.embedding("lm_head.weight", self.vocab_size, width)?)
        };
        let rotary = Rotary::new(self.theta(), self.head_width(), self.max_position_embeddings);
        Ok(Model {
            shape: KvShape {
                layers: self.num_hidden_layers,
                kv_heads: self.kv_heads(),
                head_width: self.head_width(),
            },
            heads: self.num_attention_heads,
            embedding: parts.embedding("embed_tokens.weight", self.vocab_size, width)?,
            positions: Positions::Rotary(rotary),
            layers: (0..self.num_hidden_layers)
                .map(|layer| self.layer(layer, &parts))
                .collect::<Result<_, _>>()?,
            norm: parts.rms_norm("norm", width, self.rms_norm_eps)?,
            head,
        })
    }

    fn check(&self, file: &str) -> Result<(), LoadError> {
        let scaling = self.rope_parameters.as_ref().and_then(|parameters| parameters.rope_type.as_deref());
        if let Some(kind) = scaling.filter(|kind| *kind != "default") {
            return Err(LoadError::unsupported(file, format!("rotary scaling of type {kind:?}")));
        }
        if let Some(scaling) = self.rope_scaling.as_ref().filter(|scaling| !scaling.is_null()) {
            return Err(LoadError::unsupported(file, format!("rope_scaling {scaling}")));
        }
        if self.hidden_act != "silu" {
            return Err(LoadError::unsupported(file, format!("activation {:?}", self.hidden_act)));
        }
        if self.attention_bias || self.mlp_bias {
            return Err(LoadError::unsupported(file, "a Llama variant with biases"));
        }
        let sizes = [
            self.vocab_size,
            self.max_position_embeddings,
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.kv_heads(),
            self.head_width(),
        ];
        if sizes.iter().any(|size| *size == 0 || *size > SIZE_LIMIT)
            || !self.num_attention_heads.is_multiple_of(self.kv_heads())
            || !self.head_width().is_multiple_of(2)
        {
            return Err(LoadError::malformed(
                file,
                "a size is zero or absurd, the head width is odd, or the key-value heads do not divide the \
                 heads",
            ));
        }
        Ok(())
    }

    fn layer(&self, layer: usize, parts: &Parts<'_>) -> Result<Layer, LoadError> {
        let width = self.hidden_size;
        let queries = self.num_attention_heads * self.head_width();
        let keys = self.kv_heads() * self.head_width();
        let name = |part: &str| format!("layers.{layer}.{part}.weight");
        let norm = |part: &str| parts.rms_norm(&format!("layers.{layer}.{part}"), width, self.rms_norm_eps);
        let joined = |layers: &[(String, usize)]| -> Result<Linear, LoadError> {
            let layers: Vec<_> = layers.iter().map(|(name, outputs)| (name.as_str(), *outputs)).collect();
            Ok(Linear { matrix: parts.side_by_side(width, &layers)?, bias: None })
        };
        let linear = |part: &str, inputs: usize| -> Result<Linear, LoadError> {
            let matrix = parts.matrix(&name(part), (inputs, width), Layout::OutputRows)?;
            Ok(Linear { matrix, bias: None })
        };
        Ok(Layer {
            attention_norm: norm("input_layernorm")?,
            attention_in: joined(&[
                (name("self_attn.q_proj"), queries),
                (name("self_attn.k_proj"), keys),
                (name("self_attn.v_proj"), keys),
            ])?,
            attention_out: linear("self_attn.o_proj", queries)?,
            feed_norm: norm("post_attention_layernorm")?,
            feed_in: joined(&[
                (name("mlp.gate_proj"), self.intermediate_size),
                (name("mlp.up_proj"), self.intermediate_size),
            ])?,
            activation: Activation::GatedSilu,
            feed_out: linear("mlp.down_proj", self.intermediate_size)?,
        })
    }
}
