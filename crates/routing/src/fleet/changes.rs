//! Which accounts were opened for writing since somebody last looked: a bit for each, so that a look costs what has changed
//! and next to nothing for the rest.

/// Places in the fleet's list.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// A bit per place.
    written: Vec<u64>,
    /// Workers have come, gone or changed their state: places mean something else.
    regrouped: bool,
}

impl Changes {
    /// The account at `place` was opened for writing.
    pub(crate) fn write(&mut self, place: usize) {
        let word = place / 64;
        if word >= self.written.len() {
            self.written.resize(word + 1, 0);
        }
        self.written[word] |= 1 << (place % 64);
    }

    /// The list itself has changed, or all of its accounts.
    pub(crate) fn regroup(&mut self) {
        self.regrouped = true;
        self.written.clear();
    }

    /// Whether all is to be looked at anew. Asked once per change.
    pub(crate) fn take_regrouped(&mut self) -> bool {
        let regrouped = std::mem::take(&mut self.regrouped);
        if regrouped {
            self.written.clear();
        }
        regrouped
    }

    /// Calls `look` with each place that was written since.
    pub(crate) fn take_written(&mut self, mut look: impl FnMut(usize)) {
        for (word, bits) in self.written.iter_mut().enumerate() {
            while *bits != 0 {
                look(64 * word + bits.trailing_zeros() as usize);
                *bits &= *bits - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(changes: &mut Changes) -> Vec<usize> {
        let mut places = Vec::new();
        changes.take_written(|place| places.push(place));
        places
    }

    #[test]
    fn each_place_is_told_once_however_often_it_was_written() {
        let mut changes = Changes::default();
        for place in [200, 3, 64, 3, 63, 200] {
            changes.write(place);
        }
        assert_eq!(written(&mut changes), [3, 63, 64, 200]);
        assert_eq!(written(&mut changes), [0; 0]);
    }

    #[test]
    fn places_of_another_list_are_forgotten() {
        let mut changes = Changes::default();
        changes.write(7);
        changes.regroup();
        changes.write(1);
        assert!(changes.take_regrouped());
        assert!(!changes.take_regrouped());
        assert_eq!(written(&mut changes), [0; 0], "whoever looks at all need not look at one again");
    }
}
