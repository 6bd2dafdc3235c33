//! Real chat templates against what `transformers` makes of them (`scripts/fixtures/chat_templates.py`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use warmroute_tokens::{ChatTemplate, Conversation, Prompt, PromptTokenizer, Source, load};

#[derive(Deserialize)]
struct Golden {
    models: BTreeMap<String, Model>,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Model {
    template: String,
    bos_token: String,
    eos_token: String,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    messages: Vec<Value>,
    tools: Option<Value>,
    add_generation_prompt: bool,
    continue_final_message: bool,
    others: Map<String, Value>,
    rendered: String,
    tokens: Option<Vec<u32>>,
}

impl Case {
    fn conversation(&self) -> Conversation {
        Conversation {
            messages: self.messages.clone(),
            tools: self.tools.clone(),
            documents: None,
            add_generation_prompt: self.add_generation_prompt,
            continue_final_message: self.continue_final_message,
            others: self.others.clone(),
        }
    }

    fn check(&self, template: &ChatTemplate) {
        let rendered = template.render_conversation(&self.conversation()).expect("the template takes it");
        assert_eq!(rendered, self.rendered, "{}: {:?}", self.model, self.messages);
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("fixtures/chats.json")).expect("the fixture is well-formed")
}

#[test]
fn templates_render_as_in_transformers() {
    let Golden { models, cases } = golden();
    let mut checked = 0;
    for (name, Model { template, bos_token, eos_token }) in models {
        let template = ChatTemplate::new(template, bos_token, eos_token).expect("it parses");
        assert!(!template.takes_parts(), "{name}");
        for case in cases.iter().filter(|case| case.model == name) {
            case.check(&template);
            checked += 1;
        }
    }
    assert_eq!(checked, 20);
}

#[test]
#[ignore = "needs WARMROUTE_TOKENIZERS: see scripts/fetch_tokenizers.sh"]
fn templates_and_tokenizers_from_directories_give_the_tokens_of_transformers() {
    let directory = std::env::var("WARMROUTE_TOKENIZERS").expect("it names a directory");
    for name in ["qwen3", "llama3_1"] {
        let source = Source::Path(std::path::Path::new(&directory).join(name));
        let tokenizer: PromptTokenizer = load(&source, None).expect("it loads");
        for case in golden().cases.iter().filter(|case| case.model == name) {
            case.check(tokenizer.template());
            for _ in 0..2 {
                let tokens = tokenizer.tokens(Prompt::Rendered(case.rendered.clone())).expect("it tokenizes");
                assert_eq!(Some(tokens), case.tokens, "{name}: {:?}", case.messages);
            }
        }
    }
}
