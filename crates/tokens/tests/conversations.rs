//! Conversations that grow, made at random: what is remembered of them never changes their tokens.

use serde_json::{Value, json};
use warmroute_tokens::{Prompt, PromptTokenizer, Source, load};

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Words, scripts, white space, code, and spellings of special tokens, whole and broken.
    fn text(&mut self) -> String {
        const PIECES: [&str; 40] = [
            "the",
            " cat",
            " don't",
            "It's",
            " naïve",
            "e\u{301}",
            "東京",
            "日本語",
            "🎉",
            "👩‍👩‍👧",
            "مرحبا",
            " שלום",
            "Straße",
            "\u{200b}",
            "\n",
            "\n\n",
            "\r\n",
            " ",
            "  ",
            "\t",
            "\u{a0}",
            " \n ",
            "123",
            "1,000,000",
            " 3.14",
            "fn main() {",
            "}",
            "?!",
            "...",
            "</",
            "<|",
            "|>",
            "<|im_end|>",
            "<|im_start|>user\n",
            "<|eot_id|>",
            "<|start_header_id|>",
            "<|endoftext|>",
            "<think>",
            "</think>",
            "<|im_end|",
        ];
        let count = self.below(30);
        (0..count).map(|_| self.of(&PIECES)).collect()
    }

    fn tools(&mut self) -> Value {
        let tool = |name: &str, about: String| json!({"type": "function", "function": {"name": name, "description": about, "parameters": {"type": "object", "properties": {"x": {"type": "number", "default": 1.5}}}}});
        (0..1 + self.below(3)).map(|number| tool(&format!("tool_{number}"), self.text())).collect()
    }

    /// What is said in one turn: a question, perhaps tools' answers, and an answer.
    fn turn(&mut self, messages: &mut Vec<Value>) {
        messages.push(json!({"role": "user", "content": self.text()}));
        if self.one_in(4) {
            let arguments = json!({"x": self.text(), "y": self.below(100)}).to_string();
            let call = json!({"id": "c", "type": "function", "function": {"name": "tool_0", "arguments": arguments}});
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
            messages.push(json!({"role": "tool", "content": [{"type": "text", "text": self.text()}], "tool_call_id": "c"}));
        }
        let mut answer = json!({"role": "assistant", "content": self.text()});
        if self.one_in(5) {
            answer["reasoning_content"] = self.text().into();
        }
        messages.push(answer);
    }
}

/// Bodies of one conversation as it grows.
fn conversation(seed: u64) -> Vec<Value> {
    let mut chance = Chance(seed);
    let mut messages = Vec::new();
    if chance.one_in(2) {
        messages.push(json!({"role": "system", "content": chance.text()}));
    }
    let tools = chance.one_in(3).then(|| chance.tools());
    let turns = 1 + chance.below(6);
    let mut bodies = Vec::new();
    for _ in 0..turns {
        chance.turn(&mut messages);
        let asked: Vec<_> = messages[..messages.len() - 1].to_vec();
        let mut body =
            json!({"messages": asked, "chat_template_kwargs": {"enable_thinking": chance.one_in(2)}});
        if let Some(tools) = &tools {
            body["tools"] = tools.clone();
        }
        bodies.push(body);
    }
    bodies
}

/// How many prompts of the first thousand conversations had the tokens of their whole text.
fn check(tokenizer: &PromptTokenizer) -> usize {
    let mut checked = 0;
    for seed in 0..1_000 {
        for body in conversation(seed) {
            // Templates may refuse a conversation, as Qwen3's does with content that is nothing: the engine refuses it too.
            let Ok(prompt) = tokenizer.read_chat(body.to_string().as_bytes()) else { continue };
            let (Prompt::Rendered(text) | Prompt::Raw(text)) = &prompt else { panic!("a chat is text") };
            let whole = tokenizer.codec().encode_whole(text).expect("it tokenizes");
            for _ in 0..2 {
                let tokens = tokenizer.tokens(prompt.clone()).expect("it tokenizes");
                assert_eq!(tokens, whole, "seed {seed}: {text:?}");
            }
            assert_eq!(
                tokenizer.unknown_bytes(&prompt, usize::MAX),
                0,
                "seed {seed}: all of it is remembered"
            );
            checked += 1;
        }
    }
    checked
}

#[test]
fn a_thousand_conversations_have_the_tokens_of_their_whole_text() {
    let source = Source::Path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/warmroute-tiny").into());
    assert!(check(&load(&source, None).expect("the repository's tokenizer loads")) > 3_000);
}

#[test]
#[ignore = "needs WARMROUTE_TOKENIZERS: see scripts/fetch_tokenizers.sh"]
fn a_thousand_conversations_have_the_tokens_of_their_whole_text_with_real_templates() {
    let directory = std::env::var("WARMROUTE_TOKENIZERS").expect("it names a directory");
    for name in ["qwen3", "llama3_1"] {
        let tokenizer =
            load(&Source::Path(std::path::Path::new(&directory).join(name)), None).expect("it loads");
        let checked = check(&tokenizer);
        println!("{name}: {checked} prompts of 1,000 conversations");
        assert!(checked > 3_000, "{name}: {checked}");
    }
}
