//! Slots in the order in which they were last let go: a doubly linked list threaded through a vector, so that taking
//! a slot from the middle, which every hit does, costs the same few writes as taking the oldest.

/// The list. Slots are plain indices here; each is in the list at most once.
#[derive(Debug, Default)]
pub(super) struct Recency {
    links: Vec<Link>,
    oldest: Option<u32>,
    newest: Option<u32>,
    length: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: Option<u32>,
    newer: Option<u32>,
}

impl Recency {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The slot that was let go longest ago.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.oldest
    }

    /// Puts a slot that is not in the list at its newest end.
    pub(super) fn push_newest(&mut self, slot: u32) {
        let place = slot as usize;
        if place >= self.links.len() {
            self.links.resize(place + 1, Link::default());
        }
        self.links[place] = Link { older: self.newest, newer: None };
        match self.newest.replace(slot) {
            Some(before) => self.links[before as usize].newer = Some(slot),
            None => self.oldest = Some(slot),
        }
        self.length += 1;
    }

    /// Takes a slot that is in the list out of it.
    pub(super) fn remove(&mut self, slot: u32) {
        let Link { older, newer } = std::mem::take(&mut self.links[slot as usize]);
        match older {
            Some(older) => self.links[older as usize].newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.links[newer as usize].older = older,
            None => self.newest = older,
        }
        self.length -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_keeps_the_order_of_a_plain_vector(slots in proptest::collection::vec(0_u32..12, 0..200)) {
            let mut list = Recency::default();
            let mut naive: Vec<u32> = Vec::new();
            for slot in slots {
                if let Some(place) = naive.iter().position(|held| *held == slot) {
                    naive.remove(place);
                    list.remove(slot);
                } else {
                    naive.push(slot);
                    list.push_newest(slot);
                }
                prop_assert_eq!(list.len(), naive.len());
                prop_assert_eq!(list.oldest(), naive.first().copied());
            }
            while let Some(oldest) = list.oldest() {
                prop_assert_eq!(oldest, naive.remove(0));
                list.remove(oldest);
            }
            prop_assert!(naive.is_empty());
        }
    }
}
