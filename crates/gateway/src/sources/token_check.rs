//! Whether a worker counts the tokens of prompts as the gateway does: only then are its blocks' names ours.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What comparing counts has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TokenCheck {
    /// Nothing was compared since the worker came up.
    Unknown,
    /// The last counts were equal.
    Agree,
    /// They were not.
    Differ,
}

impl TokenCheck {
    /// The word for it in the admin API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Agree => "agree",
            Self::Differ => "differ",
        }
    }
}

/// The latest comparison of one worker.
#[derive(Debug)]
pub(super) struct LastCheck {
    last: AtomicU8,
    told: AtomicBool,
}

impl Default for LastCheck {
    fn default() -> Self {
        Self { last: AtomicU8::new(TokenCheck::Unknown as u8), told: AtomicBool::new(false) }
    }
}

impl LastCheck {
    /// What it has shown.
    pub(super) fn now(&self) -> TokenCheck {
        match self.last.load(Ordering::Relaxed) {
            agree if agree == TokenCheck::Agree as u8 => TokenCheck::Agree,
            differ if differ == TokenCheck::Differ as u8 => TokenCheck::Differ,
            _ => TokenCheck::Unknown,
        }
    }

    pub(super) fn agree(&self) {
        self.last.store(TokenCheck::Agree as u8, Ordering::Relaxed);
    }

    /// Returns whether this is the first time since the worker came up.
    pub(super) fn differ(&self) -> bool {
        self.last.store(TokenCheck::Differ as u8, Ordering::Relaxed);
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// The worker came up anew, perhaps with another tokenizer.
    pub(super) fn forget(&self) {
        self.last.store(TokenCheck::Unknown as u8, Ordering::Relaxed);
        self.told.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_comparison_counts_and_the_first_difference_is_told() {
        let check = LastCheck::default();
        assert_eq!(check.now(), TokenCheck::Unknown);
        assert!(check.differ() && !check.differ());
        assert_eq!(check.now(), TokenCheck::Differ);
        check.agree();
        assert_eq!(check.now(), TokenCheck::Agree);
        assert!(!check.differ(), "it was told");
        check.forget();
        assert_eq!(check.now(), TokenCheck::Unknown);
        assert!(check.differ());
    }
}
