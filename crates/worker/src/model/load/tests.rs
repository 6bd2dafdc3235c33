//! Checkpoints as people have them: sharded, renamed, of other precision, and broken.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use warmroute_kv::{BlockHash, BlockPool, Blocks};

use super::*;
use crate::model::{Model, Scratch, Span};

/// A fixture's directory copied to where a test may change it; removed at the end.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // A directory left behind in the temporary place is not worth a panic.
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Tensors = HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

impl Copy {
    fn of(fixture: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let copy = std::env::temp_dir().join(format!("warmroute-load-{}-{number}", std::process::id()));
        fs::create_dir_all(&copy).expect("a directory");
        for name in ["config.json", "model.safetensors"] {
            fs::copy(original(fixture).join(name), copy.join(name)).expect("the fixture has it");
        }
        Self(copy)
    }

    fn tensors(&self) -> Tensors {
        let bytes = fs::read(self.0.join("model.safetensors")).expect("the weights");
        let tensors = SafeTensors::deserialize(&bytes).expect("well-formed");
        let owned = tensors.iter().map(|(name, view)| {
            (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        });
        owned.collect()
    }

    fn write(&self, file: &str, tensors: &Tensors) {
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("consistent"))
        });
        let bytes = safetensors::serialize(views.collect::<Vec<_>>(), None).expect("serialises");
        fs::write(self.0.join(file), bytes).expect("writable");
    }

    fn configure(&self, key: &str, value: Value) {
        let path = self.0.join("config.json");
        let mut config: Value =
            serde_json::from_slice(&fs::read(&path).expect("a file")).expect("it is JSON");
        config[key] = value;
        fs::write(path, config.to_string()).expect("writable");
    }

    fn network(&self) -> Result<Model, LoadError> {
        network(&self.0)
    }

    fn error(&self) -> String {
        self.network().expect_err("it must not load").to_string()
    }
}

fn original(fixture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture)
}

/// The logits after some tokens, on which two equal models agree.
fn logits(model: &Model) -> Vec<f32> {
    let mut store = model.new_store(Blocks(3));
    let mut pool: BlockPool<()> = BlockPool::new(Blocks(3));
    let mut lease = pool.begin(BlockHash(0), std::iter::empty::<(BlockHash, &())>());
    pool.grow(&mut lease, 3, &mut Vec::new()).expect("room");
    let tokens: Vec<_> = (0..40).map(|token| token * 5 % 199).collect();
    let span = Span { slots: lease.slots(), start: 0, tokens: &tokens, logits: true };
    let row = model.forward(&[span], &mut store, &mut Scratch::default()).remove(0);
    pool.release(lease);
    row
}

#[test]
fn the_embedded_model_loads_and_speaks() {
    let loaded = load(&ModelSource::Embedded).expect("it is compiled in");
    assert_eq!(loaded.name, "warmroute-tiny");
    assert_eq!(loaded.eos, [loaded.tokenizer.token("<|endoftext|>").expect("it has one")]);
    assert!(loaded.context.0 >= 1_024);
}

#[test]
fn a_source_is_the_embedded_model_a_path_or_a_name() {
    let parse = |text: &str| text.parse::<ModelSource>().expect("anything parses");
    assert_eq!(parse("embedded"), ModelSource::Embedded);
    assert_eq!(parse("warmroute-tiny"), ModelSource::Embedded);
    let directory = env!("CARGO_MANIFEST_DIR");
    assert_eq!(parse(directory), ModelSource::Path(directory.into()));
    assert_eq!(parse("distilbert/distilgpt2"), ModelSource::Hub("distilbert/distilgpt2".to_owned()));
}

#[test]
fn shards_are_one_checkpoint() {
    let copy = Copy::of("gpt2-random");
    let whole = logits(&copy.network().expect("loads"));
    let (first, second): (Tensors, Tensors) =
        copy.tensors().into_iter().partition(|(name, _)| name.contains("mlp") || name.contains("ln_1"));
    let shard = |tensors: &Tensors, file: &str| -> Vec<(String, Value)> {
        copy.write(file, tensors);
        tensors.keys().map(|name| (name.clone(), file.into())).collect()
    };
    let map = shard(&first, "model-1-of-2.safetensors")
        .into_iter()
        .chain(shard(&second, "model-2-of-2.safetensors"));
    let index = json!({ "weight_map": map.collect::<serde_json::Map<_, _>>() });
    fs::write(copy.0.join("model.safetensors.index.json"), index.to_string()).expect("writable");
    fs::remove_file(copy.0.join("model.safetensors")).expect("it was there");
    assert_eq!(logits(&copy.network().expect("loads")), whole);

    fs::remove_file(copy.0.join("model-2-of-2.safetensors")).expect("it was there");
    assert!(copy.error().contains("names model-2-of-2.safetensors, which is not there"), "{}", copy.error());
    let escape = json!({ "weight_map": { "wte.weight": "../other.safetensors" } });
    fs::write(copy.0.join("model.safetensors.index.json"), escape.to_string()).expect("writable");
    assert!(copy.error().contains("is not a plain file name"), "{}", copy.error());
}

#[test]
fn names_without_their_prefix_are_the_same_model() {
    let copy = Copy::of("gpt2-random");
    let named = logits(&copy.network().expect("loads"));
    fs::copy(original("gpt2-random").join("model-bare.safetensors"), copy.0.join("model.safetensors"))
        .expect("copies");
    assert_eq!(logits(&copy.network().expect("loads")), named);
}

#[test]
fn configurations_of_older_transformers_are_the_same_model() {
    let copy = Copy::of("llama-random");
    let newer = logits(&copy.network().expect("loads"));
    fs::copy(original("llama-random").join("config-v4.json"), copy.0.join("config.json")).expect("copies");
    assert_eq!(logits(&copy.network().expect("loads")), newer);
}

#[test]
fn a_head_of_its_own_is_used() {
    let copy = Copy::of("llama-random");
    let tied = logits(&copy.network().expect("loads"));
    let mut tensors = copy.tensors();
    let (dtype, shape, data) = tensors["model.embed_tokens.weight"].clone();
    let doubled = data
        .as_chunks()
        .0
        .iter()
        .flat_map(|bytes| (f32::from_le_bytes(*bytes) * 2.0).to_le_bytes())
        .collect();
    tensors.insert("lm_head.weight".to_owned(), (dtype, shape, doubled));
    copy.write("model.safetensors", &tensors);
    copy.configure("tie_word_embeddings", json!(false));
    let twice: Vec<f32> = tied.iter().map(|logit| logit * 2.0).collect();
    assert_eq!(logits(&copy.network().expect("loads")), twice);
}

/// A narrower type, how to write a number in it, and how far the logits may be off.
type Narrow = (Dtype, fn(f32) -> [u8; 2], f32);

#[test]
fn half_precision_and_bfloat16_give_nearly_the_same() {
    let copy = Copy::of("llama-random");
    let single = logits(&copy.network().expect("loads"));
    let narrow: [Narrow; 2] = [
        (Dtype::F16, |value| f16::from_f32(value).to_le_bytes(), 0.02),
        (Dtype::BF16, |value| bf16::from_f32(value).to_le_bytes(), 0.2),
    ];
    let tensors = copy.tensors();
    for (dtype, narrowed, tolerance) in narrow {
        let tensors = tensors.iter().map(|(name, (_, shape, data))| {
            let data =
                data.as_chunks().0.iter().flat_map(|bytes| narrowed(f32::from_le_bytes(*bytes))).collect();
            (name.clone(), (dtype, shape.clone(), data))
        });
        copy.write("model.safetensors", &tensors.collect());
        let logits = logits(&copy.network().expect("loads"));
        let worst = logits.iter().zip(&single).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < tolerance, "{dtype:?}: off by {worst}");
    }
}

#[test]
fn a_missing_tensor_is_named_with_its_shape_and_file() {
    let copy = Copy::of("gpt2-random");
    let mut tensors = copy.tensors();
    tensors.remove("transformer.h.1.mlp.c_fc.weight").expect("it was there");
    copy.write("model.safetensors", &tensors);
    let error = copy.error();
    assert!(error.contains("model.safetensors has no tensor transformer.h.1.mlp.c_fc.weight"), "{error}");
    assert!(error.contains("expected with shape [48, 192]; hint: "), "{error}");
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both() {
    let copy = Copy::of("gpt2-random");
    copy.configure("vocab_size", json!(999));
    let error = copy.error();
    let expected = "tensor transformer.wte.weight has shape [211, 48], expected [999, 48]; hint: ";
    assert!(error.contains(expected) && error.contains("model.safetensors: "), "{error}");
}

#[test]
fn a_number_that_is_none_is_found_at_the_door() {
    let copy = Copy::of("llama-random");
    let mut tensors = copy.tensors();
    let (_, _, data) = tensors.get_mut("model.norm.weight").expect("it is there");
    data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    copy.write("model.safetensors", &tensors);
    assert!(copy.error().contains("tensor model.norm.weight holds an infinity, a NaN"), "{}", copy.error());
}

#[test]
fn what_this_worker_cannot_compute_is_refused_by_name() {
    let llama = |key: &str, value: Value| {
        let copy = Copy::of("llama-random");
        copy.configure(key, value);
        copy.error()
    };
    let scaled = llama("rope_parameters", json!({ "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0 }));
    assert!(scaled.contains("rotary scaling of type \"llama3\" is not supported"), "{scaled}");
    let scaled = llama("rope_scaling", json!({ "type": "linear", "factor": 2.0 }));
    assert!(
        scaled.contains("rope_scaling {\"type\":\"linear\",\"factor\":2.0} is not supported"),
        "{scaled}"
    );
    let other = llama("model_type", json!("mamba"));
    assert!(other.contains("model_type \"mamba\" is not supported"), "{other}");
    let absurd = llama("max_position_embeddings", json!(1u64 << 60));
    assert!(absurd.contains("a size is zero or absurd"), "{absurd}");
    let zero = llama("num_key_value_heads", json!(0));
    assert!(zero.contains("a size is zero or absurd"), "{zero}");
}

#[test]
fn a_directory_without_a_model_says_what_one_needs() {
    let empty = std::env::temp_dir().join(format!("warmroute-empty-{}", std::process::id()));
    fs::create_dir_all(&empty).expect("a directory");
    let error = load(&ModelSource::Path(empty.clone())).expect_err("it is empty").to_string();
    assert!(error.contains("has no tokenizer.json; hint: a model directory needs"), "{error}");
    fs::remove_dir(&empty).expect("ours to remove");
    let error = load(&ModelSource::Path(empty)).expect_err("it is gone").to_string();
    assert!(error.contains("cannot read") && error.contains("hint: check that the path exists"), "{error}");
    let error = load(&ModelSource::Path(file!().into()))
        .or_else(|_| load(&ModelSource::Path(original("smollm2.json"))));
    let error = error.expect_err("not a model").to_string();
    assert!(error.contains("is a directory or a GGUF file, and this is neither"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mangled_safetensors_load_or_fail_with_a_sentence(
        changes in proptest::collection::vec((0.0..1.0f64, any::<u8>()), 1..4),
        cut in 0.5..1.5f64,
    ) {
        let copy = Copy::of("llama-random");
        let path = copy.0.join("model.safetensors");
        let mut bytes = fs::read(&path).expect("the weights");
        for (place, byte) in changes {
            // Mostly the header: it is where the lengths are.
            bytes[(place * 3_000.0) as usize] = byte;
        }
        bytes.truncate((cut * bytes.len() as f64) as usize);
        fs::write(&path, bytes).expect("writable");
        if let Err(error) = copy.network() {
            prop_assert!(error.to_string().contains("hint: "), "{}", error);
        }
    }
}
