//! Keys as they are written down: a file of hashes, or an environment variable of the keys themselves.
//!
//! A line of the file is `name hash`, and then in any order `requests_per_minute=60`, `tokens_per_minute=100000`, `concurrent=4` and
//! `admin`. What follows a `#` is a comment. `printf %s KEY | sha256sum` makes the hash.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use warmroute_routing::policy::nearest;

use super::{Key, KeyHash, Keys, Limits, hash};

/// Every key is a label in metrics: more would be a database's task.
const MOST_KEYS: usize = 10_000;
/// Longer names would bloat every line that carries them.
const LONGEST_NAME: usize = 64;
/// What may follow name and hash.
const WORDS: [&str; 4] = ["requests_per_minute", "tokens_per_minute", "concurrent", "admin"];

/// Keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    /// The system does not give the file's content.
    #[error("the keys in {} cannot be read: {source}; hint: check keys_file and the file's permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is no key.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: BadKey,
    },
    /// An entry of the environment that is no key.
    #[error("WARMROUTE_API_KEYS, entry {entry}: {why}")]
    Entry {
        /// The entry, from 1.
        entry: usize,
        /// What is wrong with it.
        why: BadKey,
    },
}

/// What is wrong with one key. The key itself is never shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It has no hash, or no key.
    #[error(
        "name and key are not both there; hint: write `name sha256` in the file, name=key in the environment"
    )]
    Incomplete,
    /// Not a name.
    #[error(
        "`{0}` is no name for a key; hint: up to {LONGEST_NAME} letters, digits, dots, dashes or underscores"
    )]
    Name(String),
    /// Not a hash.
    #[error("the hash of `{0}` is not 64 hexadecimal digits; hint: printf %s KEY | sha256sum")]
    Hash(String),
    /// A word that means nothing.
    #[error("`{word}` is no limit; hint: {hint}")]
    Word {
        /// As it was given.
        word: String,
        /// What it may have meant.
        hint: String,
    },
    /// A limit that is no number, or nothing.
    #[error("{limit} of `{name}` is no number from 1 to 4294967295; hint: leave it out for no limit")]
    Limit {
        /// Whose.
        name: String,
        /// Which.
        limit: &'static str,
    },
    /// There before.
    #[error("the name or the key of `{0}` was there before; hint: give each key a name, and each name a key")]
    Twice(String),
    /// More than anybody should list.
    #[error("more than {MOST_KEYS} keys; hint: put an identity provider before the gateway")]
    TooMany,
}

pub(super) fn file(first: &Keys, path: &Path) -> Result<Keys, BadKeys> {
    let unreadable = |source| BadKeys::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mut list = List::default();
    let bad = |line: usize, why| BadKeys::Line { path: path.to_owned(), line, why };
    for key in &first.0 {
        list.add(key.clone()).map_err(|why| bad(0, why))?;
    }
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default().trim();
        if !content.is_empty() {
            key(content).and_then(|key| list.add(key)).map_err(|why| bad(line, why))?;
        }
    }
    Ok(Keys(list.keys))
}

pub(super) fn pairs(text: &str) -> Result<Keys, BadKeys> {
    let mut list = List::default();
    for (entry, pair) in (1..).zip(text.split(',')) {
        let add = || {
            let (name, secret) = pair.trim().split_once('=').ok_or(BadKey::Incomplete)?;
            let secret = Some(secret).filter(|secret| !secret.is_empty()).ok_or(BadKey::Incomplete)?;
            let hash = hash(secret.as_bytes());
            list.add(Key { name: named(name)?, hash, limits: Limits::default(), admin: false })
        };
        let mut add = add;
        add().map_err(|why| BadKeys::Entry { entry, why })?;
    }
    Ok(Keys(list.keys))
}

#[derive(Default)]
struct List {
    keys: Vec<Key>,
    names: HashSet<String>,
    hashes: HashSet<KeyHash>,
}

impl List {
    fn add(&mut self, key: Key) -> Result<(), BadKey> {
        if self.keys.len() == MOST_KEYS {
            return Err(BadKey::TooMany);
        }
        if !self.names.insert(key.name.clone()) || !self.hashes.insert(key.hash) {
            return Err(BadKey::Twice(key.name));
        }
        self.keys.push(key);
        Ok(())
    }
}

fn key(line: &str) -> Result<Key, BadKey> {
    let mut words = line.split_whitespace();
    let name = named(words.next().unwrap_or_default())?;
    let digits = words.next().ok_or(BadKey::Incomplete)?;
    let hash = hexadecimal(digits).ok_or_else(|| BadKey::Hash(name.clone()))?;
    let mut key = Key { name, hash, limits: Limits::default(), admin: false };
    for word in words {
        let (limit, value) = word.split_once('=').unwrap_or((word, ""));
        let place = match limit {
            "requests_per_minute" => &mut key.limits.requests_per_minute,
            "tokens_per_minute" => &mut key.limits.tokens_per_minute,
            "concurrent" => &mut key.limits.concurrent,
            "admin" if value.is_empty() => {
                key.admin = true;
                continue;
            }
            _ => return Err(unknown(limit)),
        };
        let number = value.parse().ok().filter(|number| *number > 0);
        let limit = WORDS.into_iter().find(|word| *word == limit).unwrap_or_default();
        *place = Some(number.ok_or_else(|| BadKey::Limit { name: key.name.clone(), limit })?);
    }
    Ok(key)
}

fn unknown(word: &str) -> BadKey {
    let hint = match nearest(word, WORDS) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("it may be one of {}", WORDS.join(", ")),
    };
    BadKey::Word { word: word.to_owned(), hint }
}

fn named(name: &str) -> Result<String, BadKey> {
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if fits && name.bytes().all(plain) { Ok(name.to_owned()) } else { Err(BadKey::Name(name.to_owned())) }
}

fn hexadecimal(digits: &str) -> Option<KeyHash> {
    let mut hash = KeyHash::default();
    if digits.len() != 2 * hash.len() || !digits.is_ascii() {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_line_is_a_name_a_hash_and_limits() {
        let key = key(&format!("team-a {ABC} concurrent=4 admin tokens_per_minute=9")).unwrap();
        let limits = Limits { tokens_per_minute: Some(9), concurrent: Some(4), requests_per_minute: None };
        assert_eq!(key, Key { name: "team-a".into(), hash: hash(b"abc"), limits, admin: true });
    }

    #[test]
    fn the_environment_has_the_keys_themselves_and_the_file_adds_to_them() {
        let keys = Keys::from_pairs("a=abc, b=xyz").unwrap();
        assert_eq!(keys.0[0].hash, hash(b"abc"));
        let path = std::env::temp_dir().join(format!("warmroute-keys-{}", std::process::id()));
        std::fs::write(&path, format!("# ours\n\nc {ABC} # as a\n")).unwrap();
        let twice = keys.and_file(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(twice.contains("line 3: the name or the key of `c` was there before"), "{twice}");
        assert!(keys.and_file(&path).unwrap_err().to_string().contains("hint: check keys_file"));
    }

    #[test]
    fn mistakes_are_told_without_telling_the_key() {
        for (line, expected) in [
            ("a", "not both there"),
            ("a abc", "not 64 hexadecimal digits; hint: printf"),
            (&format!("a/b {ABC}"), "is no name"),
            (&format!("a {ABC} concurent=1"), "did you mean `concurrent`?"),
            (&format!("a {ABC} concurrent=0"), "is no number from 1"),
            (&format!("a {ABC} admin=yes"), "`admin` is no limit"),
        ] {
            let error = key(line).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("hint: "), "{line}: {error}");
        }
        let error = Keys::from_pairs("a=secret,=secret2").unwrap_err().to_string();
        assert!(error.contains("entry 2") && !error.contains("secret"), "{error}");
    }
}
