//! Slots in the order in which they were last let go: a doubly linked list threaded through whatever the slots hold, so that taking
//! a slot from the middle, which every hit does, costs the same few writes as taking the oldest. A prompt's blocks are let go
//! together and so stand together: those of a whole prompt can be moved as a few sections.
//!
//! The links are the slots' own, since whoever asks for a slot's link has just looked at the slot or is about to.

/// The list. Slots are plain indices here; each is in the list at most once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recency {
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

/// A slot's neighbours in the list, if it is in the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    older: u32,
    newer: u32,
}

/// The link of a slot that is not in the list.
pub(super) const LOOSE: Link = Link { older: NOBODY, newer: NOBODY };

impl Default for Recency {
    fn default() -> Self {
        Self { oldest: NOBODY, newest: NOBODY, length: 0 }
    }
}

impl Recency {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The slot that was let go longest ago.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NOBODY).then_some(self.oldest)
    }

    /// Puts a slot that is not in the list at its newest end.
    pub(super) fn push_newest<L: AsMut<Link>>(&mut self, links: &mut [L], slot: u32) {
        self.append(links, Section { oldest: slot, newest: slot, length: 1 });
    }

    /// The sections that `slots` make up, newest slot first; all are in the list.
    pub(super) fn sections<L: AsRef<Link>>(links: &[L], slots: impl Iterator<Item = u32>) -> Vec<Section> {
        let mut sections: Vec<Section> = Vec::new();
        for slot in slots {
            match sections.last_mut() {
                Some(section) if links[section.oldest as usize].as_ref().older == slot => {
                    section.oldest = slot;
                    section.length += 1;
                }
                _ => sections.push(Section { oldest: slot, newest: slot, length: 1 }),
            }
        }
        sections
    }

    /// Puts what was [cut](Self::cut) back, at the newest end.
    pub(super) fn append<L: AsMut<Link>>(&mut self, links: &mut [L], section: Section) {
        let Section { oldest, newest, length } = section;
        links[oldest as usize].as_mut().older = self.newest;
        links[newest as usize].as_mut().newer = NOBODY;
        match std::mem::replace(&mut self.newest, newest) {
            NOBODY => self.oldest = oldest,
            before => links[before as usize].as_mut().newer = oldest,
        }
        self.length += length;
    }

    /// Takes a slot that is in the list out of it.
    pub(super) fn remove<L: AsMut<Link>>(&mut self, links: &mut [L], slot: u32) {
        self.cut(links, Section { oldest: slot, newest: slot, length: 1 });
    }

    /// Takes a section of the list out of it.
    pub(super) fn cut<L: AsMut<Link>>(&mut self, links: &mut [L], section: Section) {
        let older = links[section.oldest as usize].as_mut().older;
        let newer = links[section.newest as usize].as_mut().newer;
        match older {
            NOBODY => self.oldest = newer,
            older => links[older as usize].as_mut().newer = newer,
        }
        match newer {
            NOBODY => self.newest = older,
            newer => links[newer as usize].as_mut().older = older,
        }
        self.length -= section.length;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl AsRef<Self> for Link {
        fn as_ref(&self) -> &Self {
            self
        }
    }

    impl AsMut<Self> for Link {
        fn as_mut(&mut self) -> &mut Self {
            self
        }
    }

    proptest! {
        #[test]
        fn it_keeps_the_order_of_a_plain_vector(slots in proptest::collection::vec(0_u32..12, 0..200)) {
            let (mut list, links) = (Recency::default(), &mut [LOOSE; 12]);
            let mut naive: Vec<u32> = Vec::new();
            for slot in slots {
                if let Some(place) = naive.iter().position(|held| *held == slot) {
                    naive.remove(place);
                    list.remove(links, slot);
                } else {
                    naive.push(slot);
                    list.push_newest(links, slot);
                }
                prop_assert_eq!(list.len(), naive.len());
                prop_assert_eq!(list.oldest(), naive.first().copied());
            }
            // Some are taken out, in sections, and put back as the newest.
            let moved: Vec<u32> = naive.iter().copied().filter(|slot| slot % 3 > 0).collect();
            let sections = Recency::sections(links, moved.iter().rev().copied());
            sections.iter().for_each(|section| list.cut(links, *section));
            prop_assert_eq!(list.len(), naive.len() - moved.len());
            sections.iter().rev().for_each(|section| list.append(links, *section));
            naive.retain(|slot| slot % 3 == 0);
            naive.extend(moved);
            prop_assert_eq!(list.len(), naive.len());
            while let Some(oldest) = list.oldest() {
                prop_assert_eq!(oldest, naive.remove(0));
                list.remove(links, oldest);
            }
            prop_assert!(naive.is_empty());
        }
    }
}
