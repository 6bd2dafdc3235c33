//! What names of blocks depend on: gateways that differ in any of it name the same prompts otherwise, and what one has sent says nothing
//! to the other.

use std::collections::BTreeMap;
use std::fmt::Write;

use warmroute_kv::BlockHash;

use crate::config::GatewayConfig;

/// Each setting that names depend on, with its value or a hash of it.
pub(super) fn naming(config: &GatewayConfig) -> BTreeMap<String, String> {
    let mut models: Vec<String> = Vec::new();
    for model in &config.models {
        let template = model.chat_template.as_ref().map(ToString::to_string).unwrap_or_default();
        models.push(format!("{} {} {} {template}", model.name, model.tokenizer, model.block_tokens));
    }
    let aliases = config.aliases.iter().map(|alias| format!("{} {}", alias.name, alias.model)).collect();
    let named = [
        ("text_chunk_bytes", config.text_chunk_bytes.to_string()),
        ("models", hashed(models)),
        ("aliases", hashed(aliases)),
    ];
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Lists may be long, and their order does not matter.
fn hashed(mut list: Vec<String>) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    list.sort_unstable();
    let hash = list.iter().fold(BlockHash(0), |hash, line| hash.next_text(line.as_bytes()));
    format!("{hash:?}")
}

/// What differs, in words; nothing if they agree.
pub(super) fn difference(
    own: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
) -> Option<String> {
    let mut said = String::new();
    for (name, value) in own {
        let other = theirs.get(name).map_or("unknown", String::as_str);
        if other != value {
            let comma = if said.is_empty() { "" } else { ", " };
            // Written into a string, which takes everything.
            let _ = write!(
                said,
                "{comma}{name} is {value} here and {} there",
                other.chars().take(40).collect::<String>()
            );
        }
    }
    (!said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> BTreeMap<String, String> {
        naming(&GatewayConfig::from_toml(text).unwrap())
    }

    #[test]
    fn what_names_depend_on_is_compared_and_nothing_else() {
        let models = "[[models]]\nname = \"a\"\ntokenizer = \"worker\"\n[[models]]\nname = \"b\"\ntokenizer = \"worker\"\n";
        let turned = "[[models]]\nname = \"b\"\ntokenizer = \"worker\"\n[[models]]\nname = \"a\"\ntokenizer = \"worker\"\n";
        assert_eq!(difference(&named(models), &named(&format!("seed = 7\n{turned}"))), None);
        let said = difference(&named("text_chunk_bytes = 128"), &named("")).unwrap();
        assert_eq!(said, "text_chunk_bytes is 128 here and 256 there");
        let said = difference(&named(""), &named(models)).unwrap();
        assert!(said.starts_with("models is none here and "), "{said}");
        assert!(
            difference(&named(""), &BTreeMap::new())
                .unwrap()
                .contains("aliases is none here and unknown there")
        );
    }
}
