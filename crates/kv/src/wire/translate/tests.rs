//! The translator against a naive model that keeps every copy in a list, with everything it was computed from.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::event::KvEvent;
use crate::hash::{BlockHash, Namespace, token_chain};
use crate::units::{TokenId, Tokens};
use crate::wire::event::{EngineHash, ExtraKeys, Lora, Tier};

const BLOCK: Tokens = Tokens(2);

fn naming() -> Naming {
    Naming::new("m", BLOCK)
}

fn root() -> BlockHash {
    Namespace { model: "m", ..Namespace::default() }.root()
}

/// The tokens of a prompt that is spelt in letters, one a block.
fn tokens(spelt: &str) -> Vec<TokenId> {
    spelt.bytes().flat_map(|letter| [u32::from(letter), 1]).collect()
}

fn names(root: BlockHash, spelt: &str) -> Vec<BlockHash> {
    token_chain(root, &tokens(spelt), BLOCK.get()).collect()
}

/// What this rank of an engine calls the block at the end of `spelt`: anything but what we do.
fn hash(rank: u32, spelt: &str) -> EngineHash {
    EngineHash(names(BlockHash(u64::from(rank)), spelt).last().map_or(0, |name| name.0))
}

/// The blocks of `spelt` from `from` on come in.
struct Store<'s> {
    rank: u32,
    spelt: &'s str,
    from: usize,
    home: Home,
}

impl Store<'_> {
    fn tell(&self, engine: &mut Translator, change: impl FnOnce(&mut Stored<'_>), events: &mut KvEvents) {
        let ends = self.from + 1..=self.spelt.len();
        let blocks: Vec<_> = ends.map(|end| hash(self.rank, &self.spelt[..end])).collect();
        let tokens = tokens(&self.spelt[self.from..]);
        let mut stored = Stored {
            blocks: &blocks,
            parent: (self.from > 0).then(|| hash(self.rank, &self.spelt[..self.from])),
            tokens: &tokens,
            block_tokens: BLOCK,
            home: self.home,
            attention: None,
            lora: Lora::default(),
            cache_salt: None,
            extra_keys: ExtraKeys::default(),
        };
        change(&mut stored);
        engine.apply(self.rank, &EngineEvent::Stored(stored), events);
    }
}

fn store(spelt: &str) -> Store<'_> {
    Store { rank: 0, spelt, from: 0, home: Home::default() }
}

fn remove(engine: &mut Translator, spelt: &str, home: Home, events: &mut KvEvents) {
    let removed = Removed { blocks: &[hash(0, spelt)], home };
    engine.apply(0, &EngineEvent::Removed(removed), events);
}

const HOST: Home = Home { tier: Tier::Host, group: None };

/// What one call of `told` adds to the events.
fn told(told: impl FnOnce(&mut KvEvents)) -> KvEvents {
    let mut events = Vec::new();
    told(&mut events);
    events
}

#[test]
fn blocks_are_named_by_our_own_chain() {
    let mut engine = Translator::new(naming(), 100);
    let chain = names(root(), "abcd");
    let first = told(|events| store("ab").tell(&mut engine, |_| {}, events));
    assert_eq!(first, [KvEvent::Stored { parent: root(), blocks: chain[..2].to_vec() }]);
    let later = told(|events| Store { from: 2, ..store("abcd") }.tell(&mut engine, |_| {}, events));
    assert_eq!(later, [KvEvent::Stored { parent: chain[1], blocks: chain[2..].to_vec() }]);
    assert_eq!(engine.blocks(), Blocks(4));
}

#[test]
fn a_block_leaves_with_its_last_copy_only() {
    let mut engine = Translator::new(naming(), 100);
    let name = names(root(), "a")[0];
    let mut events = Vec::new();
    store("a").tell(&mut engine, |_| {}, &mut events);
    store("a").tell(&mut engine, |_| {}, &mut events);
    Store { home: HOST, ..store("a") }.tell(&mut engine, |stored| stored.tokens = &[], &mut events);
    assert_eq!(events.len(), 1, "it came in once: {events:?}");
    let nothing = told(|events| {
        remove(&mut engine, "a", Home::default(), events);
        remove(&mut engine, "a", Home::default(), events);
    });
    assert_eq!(nothing, [], "the host has it still");
    assert_eq!(
        told(|events| remove(&mut engine, "a", HOST, events)),
        [KvEvent::Removed { blocks: vec![name] }]
    );
    remove(&mut engine, "a", HOST, &mut events);
    assert_eq!(engine.losses(), Losses { unknown: 1, ..Losses::default() });
}

#[test]
fn what_is_kept_elsewhere_only_is_known_but_not_held() {
    let mut engine = Translator::new(naming(), 100);
    let home = Home { tier: Tier::Remote, group: None };
    assert_eq!(told(|events| Store { home, ..store("a") }.tell(&mut engine, |_| {}, events)), []);
    let fetched = told(|events| {
        Store { home: HOST, ..store("a") }.tell(&mut engine, |stored| stored.tokens = &[], events)
    });
    assert_eq!(fetched, [KvEvent::Stored { parent: root(), blocks: names(root(), "a") }]);
}

#[test]
fn only_copies_that_are_near_enough_count_where_that_is_asked_for() {
    let whole = Translator::new(naming(), 100);
    let (mut device, mut host) = (whole.within(Tier::Device), whole.within(Tier::Host));
    for engine in [&mut device, &mut host] {
        store("ab").tell(engine, |_| {}, &mut KvEvents::new());
        Store { home: HOST, ..store("a") }.tell(engine, |stored| stored.tokens = &[], &mut KvEvents::new());
        remove(engine, "a", Home::default(), &mut KvEvents::new());
    }
    assert_eq!((device.blocks(), host.blocks()), (Blocks(1), Blocks(2)));
    let gone = told(|events| remove(&mut host, "a", HOST, events));
    assert_eq!(gone, [KvEvent::Removed { blocks: names(root(), "a") }]);
}

#[test]
fn orphans_are_counted_and_left_out() {
    let mut engine = Translator::new(naming(), 100);
    let orphans = told(|events| Store { from: 1, ..store("abc") }.tell(&mut engine, |_| {}, events));
    assert_eq!(orphans, []);
    assert_eq!(engine.losses(), Losses { orphans: 2, ..Losses::default() });
}

#[test]
fn blocks_of_another_size_are_counted_and_left_out() {
    let mut engine = Translator::new(naming(), 100);
    let four = |stored: &mut Stored<'_>| {
        stored.block_tokens = Tokens(4);
        stored.blocks = &stored.blocks[..1];
    };
    assert_eq!(told(|events| store("ab").tell(&mut engine, four, events)), []);
    assert_eq!(engine.losses(), Losses { missized: 1, ..Losses::default() });
}

#[test]
fn no_more_blocks_are_remembered_than_may_be() {
    let mut engine = Translator::new(naming(), 3);
    let mut events = told(|events| store("abcde").tell(&mut engine, |_| {}, events));
    assert_eq!(events, [KvEvent::Stored { parent: root(), blocks: names(root(), "abc") }]);
    assert_eq!(engine.losses(), Losses { beyond: 2, ..Losses::default() });
    remove(&mut engine, "abc", Home::default(), &mut events);
    store("x").tell(&mut engine, |_| {}, &mut events);
    assert_eq!(engine.blocks(), Blocks(3), "there is room again");
}

#[test]
fn only_groups_that_look_at_the_whole_prompt_count() {
    let mut engine = Translator::new(naming(), 100);
    let group = |group| Home { tier: Tier::Device, group: Some(group) };
    assert_eq!(told(|events| Store { home: group(1), ..store("a") }.tell(&mut engine, |_| {}, events)), []);
    let full = |stored: &mut Stored<'_>| stored.attention = Some(AttentionKind::Full);
    let window = |stored: &mut Stored<'_>| stored.attention = Some(AttentionKind::Partial);
    assert_eq!(told(|events| Store { home: group(0), ..store("a") }.tell(&mut engine, window, events)), []);
    assert_eq!(
        told(|events| Store { home: group(1), ..store("a") }.tell(&mut engine, full, events)).len(),
        1
    );
    assert_eq!(told(|events| remove(&mut engine, "a", group(0), events)), [], "the window's copy");
    assert_eq!(told(|events| remove(&mut engine, "a", group(1), events)).len(), 1);
    assert_eq!(engine.losses(), Losses { partial: 2, ..Losses::default() });
}

#[test]
fn adapter_and_salt_make_the_root_and_images_their_blocks() {
    let named = |change: &dyn Fn(&mut Stored<'_>)| {
        let mut engine = Translator::new(naming(), 100);
        match told(|events| store("ab").tell(&mut engine, |stored| change(stored), events)).remove(0) {
            KvEvent::Stored { blocks, .. } => blocks,
            other => panic!("{other:?}"),
        }
    };
    let adapter = Namespace { model: "m", lora: Some("l"), ..Namespace::default() }.root();
    let salted = Namespace { model: "m", salt: Some("s"), ..Namespace::default() }.root();
    let lora = Lora { id: Some(1), name: Some("l") };
    assert_eq!(named(&|stored| stored.lora = lora), names(adapter, "ab"));
    // [["l"], ["l"]]: the adapter once more.
    let listed = |stored: &mut Stored<'_>| {
        stored.lora = lora;
        stored.extra_keys = ExtraKeys(b"\x92\x91\xa1l\x91\xa1l");
    };
    assert_eq!(named(&listed), names(adapter, "ab"));
    assert_eq!(named(&|stored| stored.cache_salt = Some("s")), names(salted, "ab"), "as SGLang tells it");
    assert_eq!(
        named(&|stored| stored.extra_keys = ExtraKeys(b"\x92\x91\xa1s\xc0")),
        names(salted, "ab"),
        "as vLLM does"
    );
    // [nil, [["image", 1]]]
    let seen = named(&|stored| stored.extra_keys = ExtraKeys(b"\x92\xc0\x91\x92\xa5image\x01"));
    let plain = names(root(), "ab");
    assert_eq!(seen[0], plain[0], "before the image");
    assert_eq!(seen[1], plain[0].next_text(b"\x92\xa5image\x01").next_tokens(&tokens("b")));
}

#[derive(Clone, Debug)]
enum Operation {
    Store { rank: u32, spelt: String, from: usize, tier: usize },
    Copy { rank: u32, spelt: String, tier: usize },
    Remove { rank: u32, spelt: String, tier: usize },
    Forget { rank: u32 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let of = || (0..2_u32, "[ab]{1,4}", 0..4_usize);
    prop_oneof![
        8 => (of(), 0..4_usize).prop_map(|((rank, spelt, tier), from)| {
            let from = from.min(spelt.len() - 1);
            Operation::Store { rank, spelt, from, tier }
        }),
        2 => of().prop_map(|(rank, spelt, tier)| Operation::Copy { rank, spelt, tier }),
        10 => of().prop_map(|(rank, spelt, tier)| Operation::Remove { rank, spelt, tier }),
        1 => (0..2_u32).prop_map(|rank| Operation::Forget { rank }),
    ]
}

/// Every copy there is: whose, of what, and where.
#[derive(Default)]
struct Naive(Vec<(u32, String, usize)>);

impl Naive {
    fn knows(&self, rank: u32, spelt: &str) -> bool {
        self.0.iter().any(|copy| copy.0 == rank && copy.1 == spelt)
    }

    fn act(&mut self, operation: &Operation) {
        match operation {
            Operation::Store { rank, spelt, from, tier } => {
                if *from == 0 || self.knows(*rank, &spelt[..*from]) {
                    self.0
                        .extend((from + 1..=spelt.len()).map(|end| (*rank, spelt[..end].to_owned(), *tier)));
                }
            }
            Operation::Copy { rank, spelt, tier } => {
                if self.knows(*rank, spelt) {
                    self.0.push((*rank, spelt.clone(), *tier));
                }
            }
            Operation::Remove { rank, spelt, tier } => {
                let copy = self.0.iter().position(|copy| (copy.0, &copy.1, copy.2) == (*rank, spelt, *tier));
                copy.map(|place| self.0.swap_remove(place));
            }
            Operation::Forget { rank } => self.0.retain(|copy| copy.0 != *rank),
        }
    }

    fn held(&self, farthest: Tier) -> BTreeSet<BlockHash> {
        let own = self.0.iter().filter(|copy| Tier::ALL[copy.2] <= farthest);
        own.filter_map(|copy| names(root(), &copy.1).last().copied()).collect()
    }
}

fn act(engine: &mut Translator, operation: &Operation, events: &mut KvEvents) {
    let home = |tier: &usize| Home { tier: Tier::ALL[*tier], group: None };
    match operation {
        Operation::Store { rank, spelt, from, tier } => {
            Store { rank: *rank, spelt, from: *from, home: home(tier) }.tell(engine, |_| {}, events);
        }
        Operation::Copy { rank, spelt, tier } => {
            let from = spelt.len() - 1;
            let store = Store { rank: *rank, spelt, from, home: home(tier) };
            store.tell(engine, |stored| stored.tokens = &[], events);
        }
        Operation::Remove { rank, spelt, tier } => {
            let removed = Removed { blocks: &[hash(*rank, spelt)], home: home(tier) };
            engine.apply(*rank, &EngineEvent::Removed(removed), events);
        }
        Operation::Forget { rank } => engine.forget(*rank, events),
    }
}

proptest! {
    #[test]
    fn it_holds_what_a_list_of_all_copies_holds(operations in prop::collection::vec(operation(), 1..200)) {
        let (mut engine, mut naive) = (Translator::new(naming(), 1_000), Naive::default());
        let mut mirror = BTreeSet::new();
        for operation in &operations {
            naive.act(operation);
            for event in told(|events| act(&mut engine, operation, events)) {
                match event {
                    KvEvent::Stored { blocks, .. } => {
                        blocks.iter().for_each(|block| assert!(mirror.insert(*block), "told twice"));
                    }
                    KvEvent::Removed { blocks } => {
                        blocks.iter().for_each(|block| assert!(mirror.remove(block), "it was not there"));
                    }
                    KvEvent::Cleared => mirror.clear(),
                }
            }
            let mut recounted = BTreeSet::new();
            for event in engine.recount() {
                let KvEvent::Stored { parent, blocks } = event else { panic!("{event:?}") };
                let known = mirror.contains(&parent);
                prop_assert!(!known || recounted.contains(&parent), "a parent comes first");
                recounted.extend(blocks);
            }
            prop_assert_eq!(&recounted, &mirror);
            prop_assert_eq!(&mirror, &naive.held(Tier::Disk), "after {:?}", operation);
            prop_assert_eq!(engine.blocks().get(), mirror.len());
        }
    }

    #[test]
    fn nearer_tiers_taken_apart_at_any_time_hold_what_a_list_of_their_copies_holds(
        before in prop::collection::vec(operation(), 0..100),
        after in prop::collection::vec(operation(), 0..100),
        farthest in 0..3_usize,
    ) {
        let farthest = Tier::ALL[farthest];
        let (mut whole, mut naive) = (Translator::new(naming(), 1_000), Naive::default());
        for operation in &before {
            naive.act(operation);
            act(&mut whole, operation, &mut KvEvents::new());
        }
        let mut nearer = whole.within(farthest);
        for operation in &after {
            naive.act(operation);
            act(&mut nearer, operation, &mut KvEvents::new());
        }
        let stored = nearer.recount().into_iter().flat_map(|event| match event {
            KvEvent::Stored { blocks, .. } => blocks,
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(stored.collect::<BTreeSet<_>>(), naive.held(farthest));
        prop_assert_eq!(nearer.blocks().get(), naive.held(farthest).len());
    }
}
