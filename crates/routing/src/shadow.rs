//! What a worker that tells nothing probably holds: a block pool of its size, fed with the router's own decisions.
//!
//! The shadow emits the same events into the same index as a worker that tells everything, so nothing behind the index
//! knows the difference. What a request that is being answered reads is kept until its end, as the worker must: where such requests
//! take most of its memory, what nobody uses goes sooner than its age says. The shadow is wrong where the worker evicts differently; that costs a hit, never an
//! answer.
//!
//! Its size follows what the worker reports. A worker that found fewer tokens than predicted had evicted what the shadow
//! still held: it holds less than we think. One that found tokens that the shadow had forgotten holds more. A prediction
//! counts as evidence only if nothing was being read before it: what is booked and not yet read is predicted, and not
//! yet there.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;

use warmroute_kv::{BlockHash, BlockPool, Blocks, KvEvents, Lease, Slot, Tokens};

use crate::booking::Booking;
use crate::calibration::Calibration;
use crate::event::Usage;
use crate::holder::Holder;
use crate::request::{BookingId, NumberHasher};
use crate::scale::Block;

/// A worker's cache is taken to hold this much until its size is known: 16k blocks of 16 tokens, a small GPU's worth.
const UNKNOWN_CAPACITY: Tokens = Tokens(1 << 18);
/// The pool is resized when the learned size of a block, or the believed size of the cache, has drifted this far.
const DRIFT: f64 = 0.03;
/// Evidence of so many tokens, as a share of the believed size, changes that size by this many times as large a share: where
/// the size is a guess, and where the worker has told it. Shadows err in other ways too, and what a worker told is true.
const GAIN: (f64, f64) = (1.0, 0.1);
/// No correction goes further than this many times the first belief, up or down, where that was a guess and where it was told: beyond,
/// something else is wrong.
const FARTHEST: (f64, f64) = (1024.0, 64.0);

/// One worker's shadow.
#[derive(Debug)]
pub(crate) struct Shadow {
    first_belief: Tokens,
    /// Whether the worker told its size itself.
    is_told: bool,
    /// Tokens that the worker is believed to hold.
    capacity: f64,
    /// Tokens in a block, and the belief, that the pool was last sized with.
    sized_for: (f64, f64),
    mix: Mix,
    /// What the worker's reports make of our guesses.
    calibration: Calibration,
    /// There is memory for no more.
    most: Blocks,
    pool: BlockPool,
    /// What requests that are being answered keep.
    held: HashMap<Holder, Lease, BuildHasherDefault<NumberHasher>>,
}

/// A prompt as a shadow takes it in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint<'a> {
    pub(crate) root: BlockHash,
    pub(crate) blocks: &'a [BlockHash],
    pub(crate) block: Block,
}

/// How many times as long as the shortest the blocks in a cache are, on average: as those that came in last, about as many as it holds.
#[derive(Debug, Default)]
struct Mix {
    spans: usize,
    blocks: usize,
}

impl Mix {
    fn mean(&self) -> f64 {
        if self.blocks == 0 { 1.0 } else { self.spans as f64 / self.blocks as f64 }
    }

    /// These of a prompt's blocks came into a cache of such a size.
    fn came_in(&mut self, block: Block, places: Range<usize>, capacity: Blocks) {
        self.blocks += places.len();
        self.spans += block.spans(places);
        if self.blocks > capacity.get() {
            (self.spans, self.blocks) = (self.spans / 2, self.blocks / 2);
        }
    }
}

impl Shadow {
    pub(crate) fn new(capacity: Option<Tokens>) -> Self {
        let first_belief = capacity.unwrap_or(UNKNOWN_CAPACITY);
        let is_told = capacity.is_some();
        let capacity = first_belief.as_f64();
        Self {
            first_belief,
            is_told,
            capacity,
            sized_for: (0.0, 0.0),
            mix: Mix::default(),
            calibration: Calibration::default(),
            most: Blocks(u32::MAX),
            pool: BlockPool::new(Blocks::ZERO),
            held: HashMap::default(),
        }
    }

    /// From now on it keeps no more than `most` blocks, however many the worker is believed to hold.
    pub(crate) fn limit(&mut self, most: Blocks, events: &mut KvEvents) {
        self.most = most;
        let (block_tokens, _) = self.sized_for;
        if block_tokens > 0.0 {
            self.resize(block_tokens, events);
        }
    }

    /// About the bytes of heap that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let held: usize =
            self.held.values().map(|lease| size_of_val(lease) + lease.len() * size_of::<Slot>()).sum();
        size_of::<Self>() + self.pool.bytes() + held
    }

    /// A request with this prompt was sent to the worker, which will tell when it has read it.
    pub(crate) fn sent(&mut self, id: Holder, prompt: Footprint<'_>, events: &mut KvEvents) {
        self.fit(prompt.block, events);
        if self.is_roomy_for(prompt) {
            self.holds(id, prompt, events);
        } else {
            self.touch(prompt, events);
        }
    }

    fn touch(&mut self, prompt: Footprint<'_>, events: &mut KvEvents) {
        let found = self.pool.touch(prompt.root, prompt.blocks, events);
        self.mix.came_in(prompt.block, found..prompt.blocks.len(), self.pool.capacity());
    }

    /// The worker has read it, and keeps it until the request ends.
    pub(crate) fn holds(&mut self, id: Holder, prompt: Footprint<'_>, events: &mut KvEvents) {
        self.fit(prompt.block, events);
        if !self.held.contains_key(&id) {
            // What was evicted of it while it waited is there again.
            let lease = self.take_in(prompt, events);
            self.held.insert(id, lease);
        }
    }

    fn take_in(&mut self, prompt: Footprint<'_>, events: &mut KvEvents) -> Lease {
        let (lease, found) = self.pool.hold(prompt.root, prompt.blocks, events);
        self.mix.came_in(prompt.block, found..lease.len(), self.pool.capacity());
        lease
    }

    /// Whether so little is held that a prompt which comes in now is evicted only after half of the pool. While it waits to be read that
    /// does not happen, so it can be held from the start, which takes one walk along its blocks and not two.
    fn is_roomy_for(&self, prompt: Footprint<'_>) -> bool {
        self.pool.available().get() >= prompt.blocks.len() + self.pool.capacity().get().div_ceil(2)
    }

    /// A request has ended, whichever way: nothing has to be kept for it.
    pub(crate) fn ended(&mut self, id: Holder) {
        if let Some(lease) = self.held.remove(&id) {
            self.pool.release(lease);
        }
    }

    /// It was answered, and has ended. The answer's text is unknown to the router, but not the room it takes: tokens after the prompt's
    /// whole blocks are held under names that nobody else will ask for.
    pub(crate) fn answered(
        &mut self,
        id: BookingId,
        (booking, usage): (&Booking, &Usage),
        events: &mut KvEvents,
    ) {
        let prompt = booking.footprint();
        if let Some(cached) = usage.cached {
            self.learn(booking, cached);
            self.calibration.learn(booking.overlap, cached);
        }
        self.fill_up(id.into(), prompt, (usage.prompt, usage.output), events);
    }

    /// A request was answered, and has ended: its answer stays behind its prompt.
    pub(crate) fn fill_up(
        &mut self,
        id: Holder,
        prompt: Footprint<'_>,
        (tokens, answer): (Tokens, Tokens),
        events: &mut KvEvents,
    ) {
        self.fit(prompt.block, events);
        let extra = tokens - prompt.block.tokens(prompt.blocks.len()) + answer;
        let fillers = (extra.as_f64() / self.block_tokens(prompt.block)) as usize;
        let fillers = fillers.min(self.pool.capacity().get());
        let last = prompt.blocks.last().copied().unwrap_or(prompt.root);
        let filler = std::iter::successors(Some(id.filler(last)), |name| Some(name.next_text(&[])));
        let held = self.held.remove(&id);
        let mut lease = held.unwrap_or_else(|| self.take_in(prompt, events));
        // Behind a prompt that is not there as a whole nothing would be found.
        if fillers > 0 && lease.len() == prompt.blocks.len() {
            self.pool.lengthen(&mut lease, &filler.take(fillers).collect::<Vec<_>>(), events);
        }
        self.pool.release(lease);
    }

    /// What is to be expected of a prompt of which it holds so much.
    pub(crate) fn expects(&self, overlap: Tokens) -> Tokens {
        self.calibration.correct(overlap)
    }

    /// Tokens that the worker is believed to hold.
    pub(crate) fn capacity(&self) -> Tokens {
        Tokens(self.capacity as u32)
    }

    /// The share of the worker's cache that is in use.
    pub(crate) fn fill(&self) -> f64 {
        self.pool.resident().as_f64() / self.pool.capacity().as_f64().max(1.0)
    }

    /// Corrects the believed size by what the worker found of a prompt.
    fn learn(&mut self, booking: &Booking, cached: Tokens) {
        if !booking.was_first_in_line() {
            return;
        }
        let predicted = booking.overlap;
        // Found beyond the prediction counts only as far as it was sent before: an answer that comes back as part of the
        // next prompt is found too, and was never in the shadow.
        let more = cached.min(booking.remembered) - predicted;
        // Engines compute at least the last token, and their blocks may end elsewhere than ours.
        let slack = Tokens((2.0 * booking.block.longest(booking.footprint().blocks.len())) as u32);
        let less = predicted - cached - slack;
        if less > Tokens::ZERO && !self.is_told {
            // It has evicted already, so it holds no more than the shadow does, however much room that still has.
            let held = self.pool.resident().as_f64() * self.block_tokens(booking.block);
            self.capacity = self.capacity.min(held);
        }
        let share = (more.as_f64() - less.as_f64()) / self.capacity;
        let (gain, farthest) = if self.is_told { (GAIN.1, FARTHEST.1) } else { (GAIN.0, FARTHEST.0) };
        let (least, most) = (self.first_belief.as_f64() / farthest, self.first_belief.as_f64() * farthest);
        self.capacity = (self.capacity * (gain * share).exp()).clamp(least, most);
    }

    /// Tokens in a block of the pool, on average, where prompts come in such ones.
    fn block_tokens(&self, block: Block) -> f64 {
        self.mix.mean() * block.shortest()
    }

    fn fit(&mut self, block: Block, events: &mut KvEvents) {
        let block_tokens = self.block_tokens(block);
        let drifted = |now: f64, then: f64| (now - then).abs() > DRIFT * then;
        let (block_then, capacity_then) = self.sized_for;
        if !drifted(block_tokens, block_then) && !drifted(self.capacity, capacity_then) {
            return;
        }
        self.sized_for = (block_tokens, self.capacity);
        self.resize(block_tokens, events);
    }

    fn resize(&mut self, block_tokens: f64, events: &mut KvEvents) {
        let blocks = (self.capacity / block_tokens).floor();
        // `as` saturates: more blocks than u32 holds are as good as u32 holds.
        self.pool.resize(Blocks(blocks as u32).min(self.most), events);
    }
}

#[cfg(test)]
mod tests {
    use warmroute_kv::BlockLength;

    use super::*;
    use crate::request::{Request, WorkerId};
    use crate::scale::Scale;
    use crate::time::Time;

    const ROOT: BlockHash = BlockHash(5);

    fn prompt(blocks: &[BlockHash]) -> Footprint<'_> {
        Footprint { root: ROOT, blocks, block: block(16) }
    }

    /// Blocks of so many tokens.
    fn block(tokens: usize) -> Block {
        Scale::default().block(&Request { block: tokens.into(), ..Request::new(ROOT, &[]) })
    }

    /// A request that is read and answered at once.
    fn passes(shadow: &mut Shadow, prompt: Footprint<'_>, events: &mut KvEvents) {
        shadow.sent(BookingId(0).into(), prompt, events);
        shadow.ended(BookingId(0).into());
    }

    fn chain(text: &str) -> Vec<BlockHash> {
        warmroute_kv::text_chain(ROOT, text.as_bytes(), 1).collect()
    }

    /// A booking of a prompt of 16-token blocks on an idle worker.
    fn booking(blocks: &[BlockHash], overlap: u32, remembered: u32) -> Booking {
        let request = Request::new(ROOT, blocks);
        let mut booking = Booking::new(&request, &Scale::default(), WorkerId(0), Time::ZERO);
        (booking.overlap, booking.remembered) = (Tokens(overlap), Tokens(remembered));
        booking
    }

    const ID: BookingId = BookingId(9);

    fn report(prompt: u32, cached: u32, output: u32) -> Usage {
        Usage { prompt: Tokens(prompt), cached: Some(Tokens(cached)), output: Tokens(output) }
    }

    #[test]
    fn an_answer_takes_its_room_from_older_prompts() {
        let mut shadow = Shadow::new(Some(Tokens(4 * 16)));
        let mut events = Vec::new();
        passes(&mut shadow, prompt(&chain("ab")), &mut events);
        passes(&mut shadow, prompt(&chain("x")), &mut events);
        events.clear();
        shadow.answered(ID, (&booking(&chain("x"), 0, 0), &report(16, 0, 40)), &mut events);
        assert!(
            matches!(&events[0], warmroute_kv::KvEvent::Removed { blocks } if *blocks == [chain("ab")[1]]),
            "{events:?}"
        );
        assert_eq!(shadow.fill().to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn what_is_being_answered_stays_and_what_is_newer_goes() {
        let (old, newer, last) = (chain("ab"), chain("xy"), chain("pq"));
        let held = |shadow: &Shadow, blocks: &[BlockHash]| {
            shadow.pool.longest_prefix(blocks.iter().map(|name| (*name, &())))
        };
        for (ends, left) in [(false, [2, 0, 2]), (true, [0, 2, 2])] {
            let mut shadow = Shadow::new(Some(Tokens(4 * 16)));
            let mut events = Vec::new();
            passes(&mut shadow, prompt(&old), &mut events);
            shadow.holds(BookingId(1).into(), prompt(&old), &mut events);
            if ends {
                shadow.ended(BookingId(1).into());
            }
            for blocks in [&newer, &last] {
                passes(&mut shadow, prompt(blocks), &mut events);
            }
            assert_eq!([&old, &newer, &last].map(|blocks| held(&shadow, blocks)), left, "ended: {ends}");
            shadow.ended(BookingId(1).into());
            assert_eq!(shadow.pool.available(), shadow.pool.capacity(), "nothing is held for ever");
        }
    }

    #[test]
    fn a_prompt_that_waits_is_held_where_there_is_much_room_and_may_go_where_there_is_not() {
        for (blocks, held) in [(8, true), (4, true), (3, false)] {
            let mut shadow = Shadow::new(Some(Tokens(blocks * 16)));
            let (mut events, capacity) = (Vec::new(), Blocks(blocks));
            shadow.sent(BookingId(1).into(), prompt(&chain("ab")), &mut events);
            let waiting = shadow.pool.available();
            assert_eq!(waiting < capacity, held, "of {blocks} blocks");
            shadow.holds(BookingId(1).into(), prompt(&chain("ab")), &mut events);
            assert_eq!(shadow.pool.available(), Blocks(blocks - 2), "it is held once");
            shadow.ended(BookingId(1).into());
            assert_eq!(shadow.pool.available(), capacity);
        }
    }

    #[test]
    fn what_was_evicted_while_it_waited_is_there_once_it_was_read() {
        let mut shadow = Shadow::new(Some(Tokens(2 * 16)));
        let mut events = Vec::new();
        passes(&mut shadow, prompt(&chain("ab")), &mut events);
        passes(&mut shadow, prompt(&chain("xy")), &mut events);
        shadow.holds(BookingId(1).into(), prompt(&chain("ab")), &mut events);
        passes(&mut shadow, prompt(&chain("xy")), &mut events);
        assert_eq!(shadow.pool.longest_prefix(chain("ab").iter().map(|name| (*name, &()))), 2);
    }

    #[test]
    fn a_new_estimate_of_a_blocks_size_changes_how_many_fit() {
        let mut shadow = Shadow::new(Some(Tokens(64)));
        let mut events = Vec::new();
        passes(&mut shadow, prompt(&chain("abcd")), &mut events);
        events.clear();
        passes(&mut shadow, Footprint { block: block(32), ..prompt(&chain("a")) }, &mut events);
        let gone: Vec<_> = chain("abcd").into_iter().skip(2).rev().collect();
        assert_eq!(
            events,
            [warmroute_kv::KvEvent::Removed { blocks: gone }],
            "two blocks of 32 tokens are left"
        );
    }

    #[test]
    fn blocks_that_widen_fill_a_cache_as_their_bytes_do() {
        let length = BlockLength::widening(16);
        let block = Scale::default().block(&Request { block: length, ..Request::new(ROOT, &[]) });
        let mut shadow = Shadow::new(Some(Tokens(160_000)));
        let mut chance = crate::Chance::new(7);
        let mut prompts: Vec<Vec<BlockHash>> = Vec::new();
        for nth in 0..400_u64 {
            let text: Vec<u8> = (0..500 + chance.below(7_500)).map(|_| chance.below(256) as u8).collect();
            let blocks: Vec<_> = warmroute_kv::text_chain(ROOT, &text, length).collect();
            let prompt = Footprint { root: ROOT, blocks: &blocks, block };
            if nth % 2 == 0 {
                shadow.sent(BookingId(nth).into(), prompt, &mut Vec::new());
            } else {
                shadow.holds(BookingId(nth).into(), prompt, &mut Vec::new());
            }
            shadow.ended(BookingId(nth).into());
            prompts.push(blocks);
        }
        let tokens = |blocks: &Vec<BlockHash>| {
            length.of(shadow.pool.longest_prefix(blocks.iter().map(|name| (*name, &()))))
        };
        let there: usize = prompts.iter().map(tokens).sum();
        assert!((144_000..176_000).contains(&there), "{there} of 160,000 tokens");
    }

    /// A worker of another size than believed, as a plain cache; prompts come back after others have come between.
    fn believed_after(prompts: u32, really: u32, believed: Option<Tokens>) -> f64 {
        let mut engine: BlockPool = BlockPool::new(Blocks(really / 16));
        let mut shadow = Shadow::new(believed);
        let mut events = Vec::new();
        let mut chance = crate::Chance::new(4);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..prompts {
            let which = chance.below(64);
            let blocks = chain(&format!("{}{}", char::from(b'0' + which as u8), "-".repeat(31)));
            let held = shadow.pool.longest_prefix(blocks.iter().map(|name| (*name, &()))) as u32;
            let found = engine.touch(ROOT, &blocks, &mut events) as u32;
            let remembered = if seen.insert(which) { 0 } else { 512 };
            passes(&mut shadow, prompt(&blocks), &mut events);
            let answered = (&booking(&blocks, held * 16, remembered), &report(512, found * 16, 0));
            shadow.answered(ID, answered, &mut events);
            events.clear();
        }
        shadow.capacity
    }

    #[test]
    fn the_size_follows_what_the_worker_reports() {
        for believed in [Some(Tokens(65_536)), Some(Tokens(2_048)), None] {
            let size = believed_after(2_000, 16_384, believed);
            assert!(
                (8_192.0..32_768.0).contains(&size),
                "{size} tokens believed, starting from {believed:?}"
            );
        }
        let right = believed_after(2_000, 16_384, Some(Tokens(16_384)));
        assert!((14_000.0..19_000.0).contains(&right), "a belief that is right stays: {right}");
    }

    #[test]
    fn a_cache_that_is_far_smaller_than_guessed_is_found_out_within_a_hundred_requests() {
        let size = believed_after(164, 4_608, None);
        assert!((2_304.0..9_216.0).contains(&size), "{size} tokens believed");
    }

    #[test]
    fn what_was_still_being_read_is_no_evidence() {
        let mut shadow = Shadow::new(Some(Tokens(1_000)));
        let mut busy = booking(&chain("abcd"), 640, 640);
        busy.work.tokens = 500.0;
        shadow.answered(ID, (&busy, &report(640, 0, 0)), &mut Vec::new());
        assert_eq!(shadow.capacity(), Tokens(1_000));
    }
}
