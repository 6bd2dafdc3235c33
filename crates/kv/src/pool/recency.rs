//! Slots in the order in which they were last let go: a doubly linked list threaded through a vector, so that taking
//! a slot from the middle, which every hit does, costs the same few writes as taking the oldest. A prompt's blocks are let go
//! together and so stand together: those of a whole prompt can be moved as a few sections.

/// The list. Slots are plain indices here; each is in the list at most once.
#[derive(Clone, Debug)]
pub(super) struct Recency {
    links: Vec<Link>,
    oldest: u32,
    newest: u32,
    length: usize,
}

/// Beyond either end of the list.
const NOBODY: u32 = u32::MAX;

/// Some of the list's slots, each linked to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    oldest: u32,
    newest: u32,
    length: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
}

const LOOSE: Link = Link { older: NOBODY, newer: NOBODY };

impl Default for Recency {
    fn default() -> Self {
        Self { links: Vec::new(), oldest: NOBODY, newest: NOBODY, length: 0 }
    }
}

impl Recency {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Bytes asked of the allocator.
    pub(super) fn bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }

    /// The slot that was let go longest ago.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NOBODY).then_some(self.oldest)
    }

    /// Puts a slot that is not in the list at its newest end.
    pub(super) fn push_newest(&mut self, slot: u32) {
        let place = slot as usize;
        if place >= self.links.len() {
            self.links.resize(place + 1, LOOSE);
        }
        self.append(Section { oldest: slot, newest: slot, length: 1 });
    }

    /// The sections that `slots` make up, newest slot first; all are in the list.
    pub(super) fn sections(&self, slots: impl Iterator<Item = u32>) -> Vec<Section> {
        let mut sections: Vec<Section> = Vec::new();
        for slot in slots {
            match sections.last_mut() {
                Some(section) if self.links[section.oldest as usize].older == slot => {
                    section.oldest = slot;
                    section.length += 1;
                }
                _ => sections.push(Section { oldest: slot, newest: slot, length: 1 }),
            }
        }
        sections
    }

    /// Puts what was [cut](Self::cut) back, at the newest end.
    pub(super) fn append(&mut self, section: Section) {
        let Section { oldest, newest, length } = section;
        self.links[oldest as usize].older = self.newest;
        self.links[newest as usize].newer = NOBODY;
        match std::mem::replace(&mut self.newest, newest) {
            NOBODY => self.oldest = oldest,
            before => self.links[before as usize].newer = oldest,
        }
        self.length += length;
    }

    /// Takes a slot that is in the list out of it.
    pub(super) fn remove(&mut self, slot: u32) {
        self.cut(Section { oldest: slot, newest: slot, length: 1 });
    }

    /// Takes a section of the list out of it.
    pub(super) fn cut(&mut self, section: Section) {
        let older = self.links[section.oldest as usize].older;
        let newer = self.links[section.newest as usize].newer;
        match older {
            NOBODY => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
        match newer {
            NOBODY => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        self.length -= section.length;
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
            // Some are taken out, in sections, and put back as the newest.
            let moved: Vec<u32> = naive.iter().copied().filter(|slot| slot % 3 > 0).collect();
            let sections = list.sections(moved.iter().rev().copied());
            sections.iter().for_each(|section| list.cut(*section));
            prop_assert_eq!(list.len(), naive.len() - moved.len());
            sections.iter().rev().for_each(|section| list.append(*section));
            naive.retain(|slot| slot % 3 == 0);
            naive.extend(moved);
            prop_assert_eq!(list.len(), naive.len());
            while let Some(oldest) = list.oldest() {
                prop_assert_eq!(oldest, naive.remove(0));
                list.remove(oldest);
            }
            prop_assert!(naive.is_empty());
        }
    }
}
