//! The requests of a load: words from a seed, beginnings that groups of them share, and ends that are nobody else's.

const WORDS: &[&str] = &[
    "the", "cache", "of", "a", "worker", "holds", "prefix", "blocks", "and", "routing", "sends", "each",
    "request", "to", "whoever", "has", "most", "its", "prompt", "unless", "waiting", "costs", "more",
];
/// Digits of the number that makes a request's end its own.
const NUMBER_DIGITS: usize = 16;

/// The looks of one load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of text that a group shares, in the system message.
    pub shared: usize,
    /// Bytes of text that a request has for itself, in the user's message.
    pub unique: usize,
    pub groups: usize,
    pub streamed: bool,
}

/// Whole requests, one of each group, ready to be sent once they have their number.
#[derive(Debug)]
pub struct Requests {
    made: Vec<Vec<u8>>,
    /// Distance of the number from the end of a request.
    number_from_end: usize,
}

impl Requests {
    /// Makes one request of each group; another seed makes other texts.
    pub fn new(shape: Shape, seed: u64) -> Self {
        let Shape { shared, unique, groups, streamed } = shape;
        let rest = words(&mut fastrand::Rng::with_seed(seed), unique.saturating_sub(NUMBER_DIGITS + 1));
        let made = (0..groups).map(|group| {
            let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(group as u64));
            let beginning = format!("g{group:06} {}", words(&mut rng, shared.saturating_sub(8)));
            post(&body(&[("system", &beginning), ("user", &format!("{:016x} {rest}", 0))], streamed))
        });
        // What follows the number: a space, the rest, and `"}]}`.
        Self { made: made.collect(), number_from_end: NUMBER_DIGITS + 1 + rest.len() + 4 }
    }

    /// Writes the request of a group with this number; no two numbers share more than the group's beginning.
    pub fn write(&self, group: usize, number: u64, into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&self.made[group % self.made.len()]);
        let place = into.len() - self.number_from_end;
        // The fast-moving digits first, so that requests part at the very beginning of their own text.
        let digits = format!("{:016x}", number.swap_bytes());
        into[place..place + NUMBER_DIGITS].copy_from_slice(digits.as_bytes());
    }
}

/// A body of these messages, in the order in which clients write the members.
pub fn body(messages: &[(&str, &str)], streamed: bool) -> String {
    let messages = messages.iter().map(|(role, text)| format!(r#"{{"role":"{role}","content":"{text}"}}"#));
    let stream = if streamed { r#""stream":true,"stream_options":{"include_usage":true},"# } else { "" };
    format!(
        r#"{{"model":"emulated","max_tokens":8,{stream}"messages":[{}]}}"#,
        messages.collect::<Vec<_>>().join(",")
    )
}

/// A request as OpenAI's Python client sends it, but for the headers that say which machine it runs on.
pub fn post(body: &str) -> Vec<u8> {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\nuser-agent: OpenAI/Python 2.54\r\n\
         authorization: Bearer sk-none\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

/// The smallest question.
pub fn hello() -> Vec<u8> {
    post(&body(&[("user", "hello")], false))
}

/// So many bytes of words, a line break now and then.
pub fn words(rng: &mut fastrand::Rng, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text += WORDS[rng.usize(..WORDS.len())];
        text += if rng.u8(..14) == 0 { "\\n" } else { " " };
    }
    // Never cut between a backslash and its letter.
    text.truncate(if text.as_bytes()[..bytes].ends_with(b"\\") { bytes - 1 } else { bytes });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_group_share_their_beginning_and_nothing_after_it() {
        let requests = Requests::new(Shape { shared: 500, unique: 100, groups: 2, streamed: true }, 7);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        requests.write(1, 1, &mut one);
        requests.write(1, 2, &mut other);
        let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
        let own = one.windows(7).position(|window| window == b"\"user\",").unwrap() + 18;
        assert!((own..own + 4).contains(&same), "they part at {same}, their own text begins at {own}");
    }

    #[test]
    fn bodies_are_json_of_about_the_size_asked_for() {
        let requests = Requests::new(Shape { shared: 6_000, unique: 2_000, groups: 1, streamed: false }, 7);
        let mut request = Vec::new();
        requests.write(0, 5, &mut request);
        let text = std::str::from_utf8(&request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["messages"][1]["role"], "user");
        assert!((8_000..8_300).contains(&body.len()), "{} bytes", body.len());
    }
}
