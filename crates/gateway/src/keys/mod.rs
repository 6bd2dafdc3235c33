//! The keys that clients must show: who may ask, how much, and who may use the admin API.
//!
//! Only SHA-256 hashes are kept. Keys are random, so a plain hash is enough: there is no short password to guess. A key that is shown is
//! hashed, found by the beginning of its hash, and compared as a whole in constant time.

mod allowance;
mod gate;
mod listed;

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

pub(crate) use self::gate::{Gate, Limited, Pass};
pub use self::listed::BadKeys;

/// The hash of a key.
pub(crate) type KeyHash = [u8; 32];

pub(crate) fn hash(key: &[u8]) -> KeyHash {
    Sha256::digest(key).into()
}

/// What one key may do in a minute or at once; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub requests_per_minute: Option<u32>,
    pub tokens_per_minute: Option<u32>,
    pub concurrent: Option<u32>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Its name in logs and metrics.
    pub name: String,
    pub hash: KeyHash,
    pub limits: Limits,
    /// Whether it opens the admin API as well.
    pub admin: bool,
}

/// All keys that are accepted; none means that nobody need show one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys(pub(crate) Vec<Key>);

impl Keys {
    /// Reads `name=key,name=key`, as an environment variable has it: the keys themselves, without limits.
    ///
    /// # Errors
    /// If a name or key cannot be used, or comes twice.
    pub fn from_pairs(text: &str) -> Result<Self, BadKeys> {
        listed::pairs(text)
    }

    /// These keys and those of a file.
    ///
    /// # Errors
    /// If the file cannot be read, a line is no key, or a name or key comes twice.
    pub fn and_file(&self, path: &Path) -> Result<Self, BadKeys> {
        listed::file(self, path)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether any of them opens the admin API.
    pub(crate) fn has_admin(&self) -> bool {
        self.0.iter().any(|key| key.admin)
    }
}

/// Says how many, not which.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}
