//! Where a text can be cut so that its tokens are its pieces' tokens.
//!
//! **At special tokens**, for nearly every tokenizer: added tokens that are looked for in the text as it stands are found before
//! anything else is done, and what lies between them is tokenized piece by piece anyway. Chat templates put them between messages, so
//! a piece is a message. Not where a special token takes white space beside it, or a text's first word is treated unlike others.
//!
//! **At lines**, for tokenizers of GPT-2's kind: they cut a text into words first, and a newline that stands alone between two visible
//! characters is always a word of its own. Newlines beside other white space belong to longer words and are not cut at.

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use tokenizers::Tokenizer;
use warmroute_kv::TokenId;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    /// A special token.
    Special(TokenId),
    /// Text between them; never empty.
    Text(&'t str),
}

/// Where texts of one tokenizer can be cut.
#[derive(Debug)]
pub(crate) struct Cuts {
    special: Option<Special>,
    lines: bool,
}

#[derive(Debug)]
struct Special {
    /// As the tokenizer itself looks for them: the first, and of those that begin there the longest.
    found: AhoCorasick,
    ids: Vec<TokenId>,
}

impl Cuts {
    /// Those that `tokenizer`'s parts allow.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        let cuts = Self { special: Special::of(tokenizer), lines: cuts_at_lines(tokenizer) };
        if cuts.holds_for(tokenizer) { cuts } else { Self { special: None, lines: false } }
    }

    /// Whether a short text with special tokens has the tokens of its pieces, whatever the tokenizer's parts say.
    fn holds_for(&self, tokenizer: &Tokenizer) -> bool {
        let ids = self.special.iter().flat_map(|special| special.ids.iter().take(2));
        let mut text = "one two\nthree ".to_owned();
        for id in ids {
            let spelling = tokenizer.id_to_token(*id).unwrap_or_default();
            text.push_str(&format!("{spelling}four\n five {spelling}{spelling}\n\nsix"));
        }
        let encode = |text: &str| {
            tokenizer.encode_fast(text, false).map(|encoded| encoded.get_ids().to_vec()).unwrap_or_default()
        };
        let pieces = self.pieces(&text).flat_map(|piece| match piece {
            Piece::Special(id) => vec![id],
            Piece::Text(text) => encode(text),
        });
        pieces.eq(encode(&text))
    }

    /// The pieces of `text`, in order.
    pub(crate) fn pieces<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Piece<'t>> {
        let between = self.special.iter().flat_map(move |special| special.pieces(text));
        let whole = self.special.is_none().then_some(Piece::Text(text));
        between.chain(whole).flat_map(|piece| {
            let (special, text) = match piece {
                Piece::Special(_) => (Some(piece), ""),
                Piece::Text(text) => (None, text),
            };
            let cut = lines(text, self.lines).filter(|line| !line.is_empty()).map(Piece::Text);
            special.into_iter().chain(cut)
        })
    }

    #[cfg(test)]
    pub(crate) fn at_lines(&self) -> bool {
        self.lines
    }

    #[cfg(test)]
    pub(crate) fn at_special_tokens(&self) -> bool {
        self.special.is_some()
    }
}

impl Special {
    fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let added = tokenizer.get_added_tokens_decoder();
        let raw = added.iter().filter(|(_, token)| !token.normalized && !token.content.is_empty());
        let (ids, tokens): (Vec<TokenId>, Vec<_>) = raw.map(|(id, token)| (*id, token)).unzip();
        let swallows = tokens.iter().any(|token| token.lstrip || token.rstrip || token.single_word);
        if ids.is_empty() || swallows || treats_first_word_apart(tokenizer) {
            return None;
        }
        let spellings = tokens.iter().map(|token| &token.content);
        let found = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(spellings).ok()?;
        Some(Self { found, ids })
    }

    /// Special tokens and what is between them, which may be empty.
    fn pieces<'t>(&'t self, text: &'t str) -> impl Iterator<Item = Piece<'t>> {
        let ends = self.found.find_iter(text).map(Some).chain([None]);
        let cut = ends.scan(0, move |start, found| {
            let (at, next) = found.map_or((text.len(), text.len()), |found| (found.start(), found.end()));
            let before = Piece::Text(&text[*start..at]);
            *start = next;
            Some((before, found.map(|found| Piece::Special(self.ids[found.pattern().as_usize()]))))
        });
        cut.flat_map(|(text, special)| [Some(text), special].into_iter().flatten())
    }
}

/// SentencePiece's prefix space, where it is put at the beginning of the text only.
fn treats_first_word_apart(tokenizer: &Tokenizer) -> bool {
    let part = |part: Result<Value, _>| part.unwrap_or(Value::Null).to_string();
    let parts = [
        part(serde_json::to_value(tokenizer.get_pre_tokenizer())),
        part(serde_json::to_value(tokenizer.get_normalizer())),
    ];
    parts.iter().any(|part| part.contains(r#""prepend_scheme":"first""#))
}

/// `text` cut before and after every newline that stands alone between visible characters, if it is to be cut at all.
fn lines(text: &str, cut: bool) -> impl Iterator<Item = &str> {
    let visible = |neighbour: Option<char>| neighbour.is_some_and(|neighbour| !neighbour.is_whitespace());
    let alone =
        move |at: &usize| visible(text[..*at].chars().next_back()) && visible(text[at + 1..].chars().next());
    let searched = if cut { text } else { "" };
    let newlines = searched.match_indices('\n').map(|(at, _)| at).filter(alone);
    let cuts = newlines.flat_map(|at| [at, at + 1]).chain([text.len()]);
    cuts.scan(0, |start, end| Some(&text[std::mem::replace(start, end)..end]))
}

/// Whether the tokens of a text are those of its [`lines`], as far as this tokenizer's parts tell.
fn cuts_at_lines(tokenizer: &Tokenizer) -> bool {
    let part = |part: Result<Value, _>| part.unwrap_or(Value::Null);
    let words = part(serde_json::to_value(tokenizer.get_pre_tokenizer()));
    let byte_level = |step: &Value| {
        step["type"] == "ByteLevel" && step["add_prefix_space"] == false && step["use_regex"] == true
    };
    let known_words = match words["pretokenizers"].as_array().map(Vec::as_slice) {
        None => byte_level(&words),
        Some([digits, last]) => digits["type"] == "Digits" && byte_level(last),
        Some(_) => false,
    };
    let swallows = tokenizer
        .get_added_tokens_decoder()
        .values()
        .any(|token| token.lstrip || token.rstrip || token.single_word || token.content.contains('\n'));
    known_words && tokenizer.get_normalizer().is_none() && !swallows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_newlines_between_visible_characters_are_cut_at() {
        let cut = |text| lines(text, true).collect::<Vec<_>>();
        assert_eq!(cut("a\nb c\n3"), ["a", "\n", "b c", "\n", "3"]);
        assert_eq!(cut("a\n\nb"), ["a\n\nb"]);
        assert_eq!(cut("\na \nb\n c\n"), ["\na \nb\n c\n"]);
        assert_eq!(cut(""), [""]);
    }

    /// A tokenizer of single letters with these added tokens.
    fn letters(added: Value) -> Tokenizer {
        let vocabulary: serde_json::Map<String, Value> =
            ('a'..='z').zip(0..).map(|(letter, id)| (letter.to_string(), id.into())).collect();
        let model = json!({ "type": "BPE", "vocab": vocabulary, "merges": [] });
        let description = json!({ "version": "1.0", "added_tokens": added, "model": model });
        Tokenizer::from_bytes(description.to_string()).expect("it is well-formed")
    }

    fn added(id: u32, content: &str, key: &str, set: bool) -> Value {
        let mut token = json!({
            "id": id, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        });
        token[key] = set.into();
        token
    }

    #[test]
    fn the_longest_of_the_special_tokens_that_begin_together_is_cut_out() {
        let tokenizer = letters(json!([
            added(26, "<a>", "special", true),
            added(27, "<a><b>", "special", true),
            added(28, "b><", "special", true),
        ]));
        let cuts = Cuts::of(&tokenizer);
        let pieces: Vec<_> = cuts.pieces("x<a><b><a>y<b><a>").collect();
        let text = Piece::Text;
        let expected =
            [text("x"), Piece::Special(27), Piece::Special(26), text("y<"), Piece::Special(28), text("a>")];
        assert_eq!(pieces, expected);
        assert_eq!(cuts.pieces("").count(), 0);
    }

    #[test]
    fn tokens_that_take_white_space_or_are_found_later_are_not_cut_at() {
        for key in ["lstrip", "rstrip", "single_word", "normalized"] {
            let tokenizer = letters(json!([added(26, "<a>", key, true)]));
            assert!(!Cuts::of(&tokenizer).at_special_tokens(), "{key}");
        }
    }
}
