//! The model that a request means: the name that workers are asked for, and what its prompts' blocks are named after.

use std::borrow::Cow;
use std::sync::Arc;

use warmroute_kv::{BlockHash, Namespace};
use warmroute_openai::RequestView;

use crate::sources::weights::Weights;

/// The model that workers are asked for.
#[derive(Debug)]
pub(super) struct Meant<'a> {
    /// The name that they know it by; empty if none is known.
    pub name: Cow<'a, str>,
    /// What it stands for, if it has no weights of its own.
    pub weights: Option<Arc<Weights>>,
}

impl<'a> From<Cow<'a, str>> for Meant<'a> {
    fn from(name: Cow<'a, str>) -> Self {
        Self { name, weights: None }
    }
}

impl Meant<'_> {
    /// What stands before the first block of a prompt, as engines name it.
    pub(super) fn namespace<'s>(&'s self, salt: Option<&'s str>) -> Namespace<'s> {
        let (model, lora) = match &self.weights {
            None => (&*self.name, None),
            Some(weights) => (&*weights.base, weights.adapter.as_deref()),
        };
        Namespace { model, lora, salt, tools: None }
    }

    /// What stands before the first block of text.
    pub(super) fn text_root(&self, view: Option<&RequestView<'_>>) -> BlockHash {
        let salt = view.and_then(|view| view.cache_salt.as_deref());
        Namespace { tools: view.and_then(|view| view.tools), ..self.namespace(salt) }.root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapters_blocks_are_named_as_its_engine_names_them() {
        let weights = Weights { base: "base".into(), adapter: Some("a".into()) };
        let meant = Meant { name: "a".into(), weights: Some(Arc::new(weights)) };
        let told = Namespace { model: "base", lora: Some("a"), salt: Some("s"), tools: None };
        assert_eq!(meant.namespace(Some("s")), told);
    }
}
