//! Walks JSON text without building it: members of an object, elements of an array, each as its raw bytes.
//!
//! Strings, escapes, brackets and separators are followed exactly, so a value's bytes are its own and nobody else's.
//! What lies inside a skipped value is checked only as far as that needs (brackets pair up, strings end); the worker reads
//! it again and says what is wrong with it. All JSON that `serde_json` reads passes here.
//! Text is nearly all of a body, and of what is within strings only a quote says anything: strings are passed at the speed of memory.

/// Deepest nesting followed, the body's own level included. Python's `json`, by which vLLM and SGLang read bodies, gives up before
/// 1,000 levels.
pub(crate) const MAX_DEPTH: usize = 1024;

/// What is wrong, and at which byte of the scanned text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanError {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// A position in JSON text.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// Goes through `{"key": value, ...}`; ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Members<'a>(Sequence<'a>);

/// Goes through `[value, ...]`; ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a>(Sequence<'a>);

/// The members of the object that is all of `text`.
pub(crate) fn members(text: &[u8]) -> Members<'_> {
    Members(Sequence::new(text, b'{', b'}'))
}

/// The members of the object that `text` begins with, whatever follows it.
pub(crate) fn leading_members(text: &[u8]) -> Members<'_> {
    Members(Sequence { whole: false, ..Sequence::new(text, b'{', b'}') })
}

/// The elements of the array that is all of `text`.
pub(crate) fn elements(text: &[u8]) -> Elements<'_> {
    Elements(Sequence::new(text, b'[', b']'))
}

impl<'a> Iterator for Members<'a> {
    /// The key between its quotes, still escaped, and the value.
    type Item = Result<(&'a [u8], &'a [u8]), ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(|cursor| {
            let key = cursor.string()?;
            cursor.skip_whitespace();
            cursor.expect(b':', "expected ':' after a key")?;
            cursor.skip_whitespace();
            Ok((key, cursor.value()?))
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8], ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(Cursor::value)
    }
}

/// What objects and arrays have in common: items between brackets, with commas between them.
#[derive(Debug, Clone)]
struct Sequence<'a> {
    cursor: Cursor<'a>,
    close: u8,
    /// Nothing may follow.
    whole: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before { open: u8 },
    Within,
    Done,
}

impl<'a> Sequence<'a> {
    fn new(text: &'a [u8], open: u8, close: u8) -> Self {
        Self { cursor: Cursor { text, at: 0 }, close, whole: true, state: State::Before { open } }
    }

    fn next_with<T>(
        &mut self,
        item: impl FnOnce(&mut Cursor<'a>) -> Result<T, ScanError>,
    ) -> Option<Result<T, ScanError>> {
        let step = match self.state {
            State::Done => return None,
            State::Before { open } => self.enter(open),
            State::Within => self.advance(),
        };
        let found = match step {
            Ok(true) => item(&mut self.cursor).map(Some),
            Ok(false) if self.whole => self.cursor.expect_end().map(|()| None),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        self.state = if matches!(found, Ok(Some(_))) { State::Within } else { State::Done };
        found.transpose()
    }

    /// Past the opening bracket; whether an item follows.
    fn enter(&mut self, open: u8) -> Result<bool, ScanError> {
        self.cursor.skip_whitespace();
        let what = if open == b'{' { "expected an object" } else { "expected an array" };
        self.cursor.expect(open, what)?;
        self.cursor.skip_whitespace();
        Ok(!self.cursor.take(self.close))
    }

    /// Past what follows an item; whether another one does.
    fn advance(&mut self) -> Result<bool, ScanError> {
        self.cursor.skip_whitespace();
        if self.cursor.take(self.close) {
            return Ok(false);
        }
        let what = if self.close == b'}' { "expected ',' or '}'" } else { "expected ',' or ']'" };
        self.cursor.expect(b',', what)?;
        self.cursor.skip_whitespace();
        Ok(true)
    }
}

/// The first value of `text`, without what precedes and follows it.
pub(crate) fn leading_value(text: &[u8]) -> Result<&[u8], ScanError> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_whitespace();
    cursor.value()
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, ScanError> {
        Err(ScanError { at: self.at, what })
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), ScanError> {
        if self.take(byte) { Ok(()) } else { self.fail(what) }
    }

    fn expect_end(&mut self) -> Result<(), ScanError> {
        self.skip_whitespace();
        if self.at == self.text.len() { Ok(()) } else { self.fail("expected nothing more") }
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A string's bytes between its quotes, still escaped.
    fn string(&mut self) -> Result<&'a [u8], ScanError> {
        if self.peek() != Some(b'"') {
            return self.fail("expected a string");
        }
        let start = self.at + 1;
        self.skip_string()?;
        Ok(&self.text[start..self.at - 1])
    }

    /// Past a string whose opening quote is the next byte.
    fn skip_string(&mut self) -> Result<(), ScanError> {
        let start = self.at + 1;
        let mut quotes = memchr::memchr_iter(b'"', &self.text[start..]).map(|at| start + at);
        // A quote with an odd number of backslashes before it is escaped. No byte is counted twice: the last quote ends the count.
        let ends = |quote: &usize| {
            let before = self.text[start..*quote].iter().rev();
            before.take_while(|byte| **byte == b'\\').count() % 2 == 0
        };
        match quotes.find(ends) {
            Some(quote) => {
                self.at = quote + 1;
                Ok(())
            }
            None => Err(ScanError { at: self.text.len(), what: "the text ends within a string" }),
        }
    }

    fn value(&mut self) -> Result<&'a [u8], ScanError> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.skip_string()?,
            Some(b'{' | b'[') => self.skip_nested()?,
            _ => self.skip_scalar()?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Past a number or a word; what it spells is not checked.
    fn skip_scalar(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        if self.at == start { self.fail("expected a value") } else { Ok(()) }
    }

    /// Past an object or array whose opening bracket is the next byte.
    fn skip_nested(&mut self) -> Result<(), ScanError> {
        let mut open_brackets = Brackets::default();
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    // The body itself is one level already.
                    if open_brackets.depth + 1 >= MAX_DEPTH {
                        return self.fail("nested too deeply");
                    }
                    open_brackets.open(open == b'{');
                }
                Some(close @ (b'}' | b']')) => {
                    if open_brackets.close() != (close == b'}') {
                        return self.fail("a bracket that closes another kind");
                    }
                    if open_brackets.depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                Some(b'"') => {
                    self.skip_string()?;
                    continue;
                }
                Some(_) => {}
                None => return self.fail("the text ends within an object or array"),
            }
            self.at += 1;
        }
    }
}

/// Which of the brackets that are open begin objects, a bit for each.
#[derive(Default)]
struct Brackets {
    depth: usize,
    objects: [u64; MAX_DEPTH / 64],
}

impl Brackets {
    fn open(&mut self, object: bool) {
        let word = &mut self.objects[self.depth / 64];
        *word = *word & !(1 << (self.depth % 64)) | u64::from(object) << (self.depth % 64);
        self.depth += 1;
    }

    /// Whether the one that was opened last began an object. There must be one.
    fn close(&mut self) -> bool {
        self.depth -= 1;
        self.objects[self.depth / 64] >> (self.depth % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'a>(text: &'a str) -> Result<Vec<(&'a str, &'a str)>, ScanError> {
        let utf8 = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap();
        members(text.as_bytes()).map(|member| member.map(|(key, value)| (utf8(key), utf8(value)))).collect()
    }

    #[test]
    fn values_are_cut_out_exactly_as_they_stand() {
        let found = all(" { \"a\" : [1, {\"b\": \"]}\"}] ,\"c\\\"\":\"\\\\\",\"d\":-1.5e3 } \n").unwrap();
        assert_eq!(found, [("a", "[1, {\"b\": \"]}\"}]"), ("c\\\"", "\"\\\\\""), ("d", "-1.5e3")]);
        assert_eq!(all("{}").unwrap(), []);
    }

    #[test]
    fn broken_text_is_refused_where_it_breaks() {
        for (text, at) in [
            ("", 0),
            ("[]", 0),
            ("{", 1),
            ("{\"a\"", 4),
            ("{\"a\":", 5),
            ("{\"a\":1,}", 7),
            ("{\"a\":1 \"b\":2}", 7),
            ("{\"a\":[}]}", 6),
            ("{\"a\":\"\\", 7),
            ("{} x", 3),
        ] {
            assert_eq!(all(text).unwrap_err().at, at, "in {text}");
        }
    }

    #[test]
    fn a_string_ends_at_the_first_quote_that_is_not_escaped() {
        for backslashes in 0..6 {
            let string = format!("\"x{}\"", "\\".repeat(backslashes));
            let text = format!("{string}, \"");
            let ends = if backslashes % 2 == 0 { &*string } else { &*text };
            assert_eq!(leading_value(text.as_bytes()), Ok(ends.as_bytes()), "{text}");
        }
    }

    #[test]
    fn nesting_has_a_bound_beyond_that_of_engines() {
        for (depth, fits) in [(127, true), (128, true), (MAX_DEPTH - 1, true), (MAX_DEPTH, false)] {
            // Of each eight brackets the third and the fourth are objects.
            let object = |level: usize| matches!(level % 8, 2 | 3);
            let opened: String =
                (0..depth).map(|level| if object(level) { "{\"a\":" } else { "[" }).collect();
            let closed: String =
                (0..depth).rev().map(|level| if object(level) { '}' } else { ']' }).collect();
            let value = format!("{opened}0{closed}");
            assert_eq!(all(&format!("{{\"a\":{value}}}")).is_ok(), fits, "a value of {depth} levels");
            let crossed = value.replacen("}]", "]}", 1);
            assert!(crossed == value || all(&format!("{{\"a\":{crossed}}}")).is_err(), "{depth} levels");
        }
    }
}
