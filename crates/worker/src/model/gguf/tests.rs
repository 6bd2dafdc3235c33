//! GGUF files as llama.cpp's converter would write them, made from models we can also load directly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;
use warmroute_kv::{BlockHash, BlockPool, Blocks, TokenId};

use crate::model::load::network;
use crate::model::{ChatTurn, Model, ModelSource, Scratch, Span, load};
use warmroute_tokens::gguf::header::{HeaderError, Value, parse};

/// A file being written.
#[derive(Default)]
struct Writer {
    entries: Vec<u8>,
    entry_count: u64,
    infos: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.entry_count += 1;
        text(&mut self.entries, key);
        self.entries.extend(kind.to_le_bytes());
        &mut self.entries
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key, 4).extend((number as u32).to_le_bytes());
    }

    fn float(&mut self, key: &str, number: f64) {
        self.key(key, 6).extend((number as f32).to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        text(self.key(key, 8), value);
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        let bytes = self.key(key, 9);
        bytes.extend(8u32.to_le_bytes());
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| text(bytes, value));
    }

    fn integers(&mut self, key: &str, values: &[i32]) {
        let bytes = self.key(key, 9);
        bytes.extend(5u32.to_le_bytes());
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    }

    fn tensor(&mut self, name: &str, shape: &[usize], kind: u32, bytes: &[u8]) {
        self.tensor_count += 1;
        text(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.infos.extend((*size as u64).to_le_bytes()));
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.entry_count.to_le_bytes());
        file.extend(self.entries);
        file.extend(self.infos);
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(self.data);
        file
    }
}

/// Writes the tensors of a safetensors file under llama.cpp's names. `rows` says where row `r` of a query or
/// key projection comes from.
fn tensors(
    writer: &mut Writer,
    directory: &Path,
    names: &[(&str, &str)],
    heads: impl Fn(&str) -> Option<usize>,
) {
    let bytes = std::fs::read(directory.join("model.safetensors")).expect("the weights");
    for (name, tensor) in SafeTensors::deserialize(&bytes).expect("well-formed").iter() {
        let theirs = names.iter().fold(name.to_owned(), |name, (hub, theirs)| name.replace(hub, theirs));
        let size = tensor.dtype().bitsize() / 8;
        let kind = u32::from(tensor.dtype() == Dtype::F16);
        let (shape, data) = (tensor.shape(), tensor.data());
        let is_conv = shape.len() == 2 && name.contains(".h.") || name.starts_with("h.") && shape.len() == 2;
        if is_conv {
            let (rows, columns) = (shape[0], shape[1]);
            let cells = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
            let data: Vec<u8> = cells.flat_map(|cell| data[cell * size..][..size].iter().copied()).collect();
            writer.tensor(&theirs, &[columns, rows], kind, &data);
        } else if let Some(heads) = heads(name) {
            let (row, half) = (shape[1] * size, shape[0] / heads / 2);
            // reshape(heads, 2, half, columns).swapaxes(1, 2)
            let order =
                (0..shape[0]).map(|at| at / (2 * half) * 2 * half + at % 2 * half + at % (2 * half) / 2);
            let data: Vec<u8> = order.flat_map(|from| data[from * row..][..row].iter().copied()).collect();
            writer.tensor(&theirs, shape, kind, &data);
        } else {
            writer.tensor(&theirs, shape, kind, data);
        }
    }
}

/// llama.cpp's names for parts of the hub's.
const GPT2_NAMES: [(&str, &str); 12] = [
    ("transformer.", ""),
    ("lm_head", "output"),
    ("wte", "token_embd"),
    ("wpe", "position_embd"),
    ("ln_f", "output_norm"),
    ("h.", "blk."),
    ("ln_1", "attn_norm"),
    ("ln_2", "ffn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];

/// llama.cpp's names for parts of the hub's.
const LLAMA_NAMES: [(&str, &str); 13] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("model.layers", "blk"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Writes a byte-level BPE tokenizer and its chat template.
fn tokenizer(writer: &mut Writer, tokenizer: &Json, tokenizer_config: &Json) {
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "gpt-2");
    let vocabulary = tokenizer["model"]["vocab"].as_object().expect("a vocabulary");
    let by_id: BTreeMap<u64, &String> =
        vocabulary.iter().map(|(token, id)| (id.as_u64().expect("an id"), token)).collect();
    let tokens: Vec<String> = by_id.values().map(|token| (*token).clone()).collect();
    let merges = tokenizer["model"]["merges"].as_array().expect("merges").iter().map(|merge| match merge {
        Json::Array(pair) => {
            format!("{} {}", pair[0].as_str().expect("text"), pair[1].as_str().expect("text"))
        }
        whole => whole.as_str().expect("text").to_owned(),
    });
    let added: Vec<&str> = tokenizer["added_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|t| t["content"].as_str())
        .collect();
    let types: Vec<i32> =
        tokens.iter().map(|token| if added.contains(&token.as_str()) { 3 } else { 1 }).collect();
    writer.texts("tokenizer.ggml.merges", &merges.collect::<Vec<_>>());
    writer.texts("tokenizer.ggml.tokens", &tokens);
    writer.integers("tokenizer.ggml.token_type", &types);
    if let Some(template) = tokenizer_config["chat_template"].as_str() {
        writer.text("tokenizer.chat_template", template);
    }
}

/// The embedded GPT-2 as a file, with its tokenizer and template.
fn gpt2_file() -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/warmroute-tiny");
    let read = |name: &str| -> Json {
        serde_json::from_slice(&std::fs::read(directory.join(name)).expect(name)).expect("it is JSON")
    };
    let config = read("config.json");
    let mut writer = Writer::default();
    writer.text("general.architecture", "gpt2");
    for (key, field) in [
        ("gpt2.context_length", "n_positions"),
        ("gpt2.embedding_length", "n_embd"),
        ("gpt2.block_count", "n_layer"),
        ("gpt2.attention.head_count", "n_head"),
        ("tokenizer.ggml.bos_token_id", "bos_token_id"),
        ("tokenizer.ggml.eos_token_id", "eos_token_id"),
    ] {
        writer.number(key, config[field].as_u64().expect(field));
    }
    writer
        .float("gpt2.attention.layer_norm_epsilon", config["layer_norm_epsilon"].as_f64().expect("a number"));
    tokenizer(&mut writer, &read("tokenizer.json"), &read("tokenizer_config.json"));
    tensors(&mut writer, &directory, &GPT2_NAMES, |_| None);
    writer.finish()
}

fn llama_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama-random")
}

/// The random Llama as a file; its tokens are made up.
fn llama_file() -> Vec<u8> {
    let config: Json =
        serde_json::from_slice(&std::fs::read(llama_directory().join("config.json")).expect("config"))
            .expect("it is JSON");
    let size = |field: &str| config[field].as_u64().expect(field);
    let mut writer = Writer::default();
    writer.text("general.architecture", "llama");
    for (key, field) in [
        ("llama.context_length", "max_position_embeddings"),
        ("llama.embedding_length", "hidden_size"),
        ("llama.feed_forward_length", "intermediate_size"),
        ("llama.block_count", "num_hidden_layers"),
        ("llama.attention.head_count", "num_attention_heads"),
        ("llama.attention.head_count_kv", "num_key_value_heads"),
        ("llama.attention.key_length", "head_dim"),
        ("llama.rope.dimension_count", "head_dim"),
        ("tokenizer.ggml.eos_token_id", "eos_token_id"),
    ] {
        writer.number(key, size(field));
    }
    writer
        .float("llama.attention.layer_norm_rms_epsilon", config["rms_norm_eps"].as_f64().expect("a number"));
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "smollm");
    let tokens: Vec<String> = (0..size("vocab_size")).map(|id| format!("token{id}")).collect();
    writer.texts("tokenizer.ggml.tokens", &tokens);
    writer.texts("tokenizer.ggml.merges", &[]);
    let (heads, kv_heads) = (size("num_attention_heads") as usize, size("num_key_value_heads") as usize);
    tensors(&mut writer, &llama_directory(), &LLAMA_NAMES, |name| match name {
        _ if name.contains("q_proj") => Some(heads),
        _ if name.contains("k_proj") => Some(kv_heads),
        _ => None,
    });
    writer.finish()
}

fn load_bytes(name: &str, bytes: &[u8]) -> crate::model::LoadedModel {
    let path = std::env::temp_dir().join(format!("warmroute-{name}-{}.gguf", std::process::id()));
    std::fs::write(&path, bytes).expect("a temporary file");
    let loaded = load(&ModelSource::Path(path.clone()));
    std::fs::remove_file(path).expect("ours to remove");
    loaded.expect("the file loads")
}

fn logits(model: &Model, tokens: &[TokenId]) -> Vec<u32> {
    let mut store = model.new_store(Blocks(8));
    let mut pool: BlockPool<()> = BlockPool::new(Blocks(8));
    let mut lease = pool.begin(BlockHash(0), std::iter::empty::<(BlockHash, &())>());
    pool.grow(&mut lease, 8, &mut Vec::new()).expect("room");
    let span = Span { slots: lease.slots(), start: 0, tokens, logits: true };
    let row = model.forward(&[span], &mut store, &mut Scratch::default()).remove(0);
    pool.release(lease);
    row.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_gpt2_file_is_the_model_it_was_made_of() {
    let ours = load(&ModelSource::Embedded).expect("it loads");
    let theirs = load_bytes("gpt2", &gpt2_file());
    let text = "In the beginning, <|endoftext|> 1234 naïve\n\n  words";
    let tokens = ours.tokenizer.encode_prompt(text).expect("encodes");
    assert_eq!(theirs.tokenizer.encode_prompt(text).expect("encodes"), tokens);
    assert_eq!(logits(&theirs.model, &tokens), logits(&ours.model, &tokens));
    assert_eq!((theirs.context, &theirs.eos), (ours.context, &ours.eos));
    let turns = [ChatTurn { role: "user", content: "Hello" }];
    assert_eq!(
        theirs.template.render(&turns).expect("renders"),
        ours.template.render(&turns).expect("renders")
    );
}

#[test]
fn a_llama_files_reordered_rows_are_put_back() {
    let ours = network(&llama_directory()).expect("the fixture loads");
    let theirs = load_bytes("llama", &llama_file()).model;
    let tokens: Vec<TokenId> = (0..100).map(|token| token * 7 % 199).collect();
    assert_eq!(logits(&theirs, &tokens), logits(&ours, &tokens));
}

#[test]
fn a_count_the_file_cannot_hold_is_refused_before_it_is_believed() {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(1u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(u64::MAX.to_le_bytes());
    assert!(matches!(parse(&file[..], file.len() as u64), Err(HeaderError::Truncated(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mangled_heads_never_panic_and_never_point_outside(
        changes in proptest::collection::vec((0.0..1.0f64, any::<u8>()), 1..8),
        cut in 0.0..1.2f64,
        early in any::<bool>(),
    ) {
        let mut file = llama_file();
        // Half the time only the first bytes, where counts and types are.
        let reach = if early { 600 } else { file.len() };
        for (place, byte) in changes {
            let place = (place * reach as f64) as usize;
            file[place] = byte;
        }
        file.truncate((cut * file.len() as f64) as usize);
        if let Ok(header) = parse(&file[..], file.len() as u64) {
            for place in header.tensors.values() {
                prop_assert!(place.start + place.length as u64 <= file.len() as u64);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let file = [b"GGUF\x03\0\0\0", &bytes[..]].concat();
        if let Ok(header) = parse(&file[..], file.len() as u64) {
            let long = |value: &Value| matches!(value, Value::Array(values) if values.len() > bytes.len());
            prop_assert!(!header.metadata.values().any(long));
        }
    }

    #[test]
    fn mangled_files_load_or_fail_with_a_sentence(
        place in 0.0..1.0f64,
        byte in any::<u8>(),
        early in any::<bool>(),
    ) {
        let mut file = llama_file();
        let reach = if early { 2_000 } else { file.len() };
        file[(place * reach as f64) as usize] = byte;
        let path = std::env::temp_dir().join(format!("warmroute-mangled-{}.gguf", std::process::id()));
        std::fs::write(&path, file).expect("a temporary file");
        if let Err(error) = load(&ModelSource::Path(path)) {
            prop_assert!(error.to_string().contains("hint: "), "{}", error);
        }
    }
}
