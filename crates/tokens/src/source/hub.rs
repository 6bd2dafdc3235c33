//! Models by their name on the Hugging Face hub, through its own client and cache.
//!
//! `HF_ENDPOINT` names another server and `HF_HOME` another cache, as everywhere in that world. A model that
//! is whole in the cache is used without asking anybody, so a worker that has run once starts offline.

use std::path::{Path, PathBuf};

use hf_hub::Cache;
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use serde_json::Value;

use super::LoadError;

/// What of a model is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// All of it.
    Model,
    /// Its tokenizer and chat template.
    Tokenizer,
}

/// Files besides the weights and what is always needed, which a model may lack.
const SMALL_FILES: [&str; 4] =
    ["config.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"];
const TOKENIZER: &str = "tokenizer.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The directory with a model's files, downloaded if need be.
///
/// # Errors
/// If the hub has no such model or cannot be asked.
pub fn fetch(name: &str, wanted: Wanted) -> Result<PathBuf, LoadError> {
    let fail = |reason: String| LoadError::Hub { name: name.to_owned(), reason };
    if !is_name(name) {
        return Err(fail("it is neither an existing path nor of the form owner/model".to_owned()));
    }
    let cache = Cache::from_env();
    if let Some(directory) = cached(&cache, name, wanted) {
        return Ok(directory);
    }
    let api = ApiBuilder::from_env().build().map_err(|error| fail(error.to_string()))?;
    download(&api.model(name.to_owned()), wanted).map_err(fail)
}

/// `model` or `owner/model`, of the characters the hub allows; so that no name walks out of the cache's
/// directory.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&letter);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    match name.split_once('/') {
        Some((owner, model)) => part(owner) && part(model),
        None => part(name),
    }
}

/// The model's directory in the cache, if what is fetched last is there: the tokenizer, or the weights after it.
fn cached(cache: &Cache, name: &str, wanted: Wanted) -> Option<PathBuf> {
    let repo = cache.model(name.to_owned());
    let directory = repo.get(TOKENIZER)?.parent()?.to_owned();
    if wanted == Wanted::Tokenizer {
        return Some(directory);
    }
    repo.get("config.json")?;
    if repo.get(SINGLE).is_none() {
        let index = repo.get(INDEX)?;
        shards(&index)?.iter().try_for_each(|shard| repo.get(shard).map(drop))?;
    }
    Some(directory)
}

/// The files an index names.
fn shards(index: &Path) -> Option<Vec<String>> {
    let index: Value = serde_json::from_slice(&std::fs::read(index).ok()?).ok()?;
    let mut names: Vec<String> = index["weight_map"]
        .as_object()?
        .values()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// Downloads what the repository has of the files we use; the weights last.
fn download(repo: &ApiRepo, wanted: Wanted) -> Result<PathBuf, String> {
    let listed = repo.info().map_err(|error| error.to_string())?.siblings;
    let has = |name: &str| listed.iter().any(|sibling| sibling.rfilename == name);
    let get = |name: &str| repo.get(name).map_err(|error| format!("{name}: {error}"));
    if wanted == Wanted::Model {
        get("config.json")?;
    }
    for name in SMALL_FILES.iter().filter(|name| has(name)) {
        get(name)?;
    }
    let tokenizer = get(TOKENIZER)?;
    if wanted == Wanted::Tokenizer {
        // Weights are none of our business.
    } else if has(SINGLE) {
        get(SINGLE)?;
    } else if has(INDEX) {
        let index = get(INDEX)?;
        for shard in shards(&index).ok_or_else(|| format!("{INDEX} is malformed"))? {
            if !has(&shard) {
                return Err(format!("{INDEX} names {shard}, which the repository does not have"));
            }
            get(&shard)?;
        }
    } else {
        return Err(format!("the repository has neither {SINGLE} nor {INDEX}"));
    }
    tokenizer.parent().map(Path::to_owned).ok_or_else(|| "the cache is not a directory".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::source::{Files, codec};

    /// A model of our own, small enough to be in the repository.
    const TINY: [(&str, &[u8]); 4] = [
        ("config.json", include_bytes!("../../../../models/warmroute-tiny/config.json")),
        ("model.safetensors", include_bytes!("../../../../models/warmroute-tiny/model.safetensors")),
        ("tokenizer.json", include_bytes!("../../../../models/warmroute-tiny/tokenizer.json")),
        ("tokenizer_config.json", include_bytes!("../../../../models/warmroute-tiny/tokenizer_config.json")),
    ];

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A hub with one model, `someone/tiny`: the embedded one.
    fn serve(listener: TcpListener) {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that hangs up early is no failure of the hub.
            let _ = answer(stream);
        }
    }

    fn answer(mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut range = None;
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                range = bytes.split_once('-').map(|(from, to)| (from.to_owned(), to.to_owned()));
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let siblings: Vec<_> =
            TINY.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
        let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        let content = match path.strip_prefix("/someone/tiny/resolve/main/") {
            Some(file) => TINY.iter().find(|(name, _)| *name == file).map(|(_, bytes)| *bytes),
            None => path.starts_with("/api/models/someone/tiny").then_some(info.as_bytes()),
        };
        let Some(content) = content else {
            return stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        };
        let (from, to) = range.unwrap_or_default();
        let from = from.parse().unwrap_or(0);
        let to = to.parse().map_or(content.len(), |to: usize| to + 1);
        let part = content.get(from..to).unwrap_or_default();
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{}/{}\r\n\
             etag: \"{:x}\"\r\n\
             x-repo-commit: {COMMIT}\r\nconnection: close\r\n\r\n",
            part.len(),
            to.saturating_sub(1),
            content.len(),
            content.len(),
        )?;
        stream.write_all(part)
    }

    /// A directory of this test's own, emptied first.
    fn empty_directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("warmroute-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_model_is_fetched_by_name_and_then_found_without_the_hub() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        // The thread ends with the test process: it owns nothing that outlives it.
        std::thread::spawn(move || serve(listener));
        let home = empty_directory("hub");
        let builder =
            ApiBuilder::new().with_endpoint(endpoint).with_cache_dir(home.clone()).with_progress(false);
        let api = builder.build().expect("a client");

        let tiny = || api.model("someone/tiny".to_owned());
        let cached = |name, wanted| cached(&Cache::new(home.clone()), name, wanted);
        let directory = download(&tiny(), Wanted::Tokenizer).expect("the hub has it");
        let codec = codec(&Files::Directory(directory.clone())).expect("it loads");
        assert_eq!(codec.encode_prompt("In the").expect("encodes").len(), 2);
        assert_eq!(cached("someone/tiny", Wanted::Tokenizer), Some(directory.clone()));
        assert_eq!(cached("someone/tiny", Wanted::Model), None, "the weights were not asked for");

        assert_eq!(download(&tiny(), Wanted::Model).as_ref(), Ok(&directory));
        assert_eq!(cached("someone/tiny", Wanted::Model), Some(directory));
        assert_eq!(cached("someone/else", Wanted::Tokenizer), None);
        let error = download(&api.model("someone/else".to_owned()), Wanted::Model)
            .expect_err("the hub has no such model");
        assert!(error.contains("404"), "{error}");
        std::fs::remove_dir_all(home).expect("ours to remove");
    }

    #[test]
    fn names_that_are_no_hub_names_are_refused_before_anyone_is_asked() {
        for name in ["../secret", "a/b/c", "", "a/..", "./models", "/etc", "a b"] {
            let error = fetch(name, Wanted::Model).expect_err("not a name").to_string();
            assert!(
                error.contains("neither an existing path nor") && error.contains("hint: offline"),
                "{error}"
            );
        }
    }
}
