//! The engine's thread: what its clients see when they are slow, gone, too many, or when it dies.

use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use warmroute_kv::KvEvent;

use super::toy::Toy;
use super::{job, limits, uncached};
use crate::engine::{EngineHandle, Inference, Job, Metrics, Refused};
use crate::model::Span;

fn handle<M: Inference<Text: Send> + Send + 'static>(model: M, max_waiting: usize) -> EngineHandle {
    let limits = limits(20);
    EngineHandle::start(model, limits, max_waiting, (Metrics::new("toy", &limits), None)).unwrap()
}

/// A model that breaks at its first step.
struct Doomed;

impl Inference for Doomed {
    type Text = ();

    fn forward(&mut self, _: &[Span<'_>]) -> Vec<Vec<f32>> {
        panic!("this panic is part of a test");
    }

    fn ends(&self, _: u32) -> bool {
        false
    }

    fn text(&self, (): &mut (), _: u32) -> String {
        String::new()
    }

    fn last_text(&self, (): &mut ()) -> String {
        String::new()
    }
}

/// A model that computes one step for each word it is sent.
struct Stepwise(Toy, Receiver<()>);

impl Inference for Stepwise {
    type Text = <Toy as Inference>::Text;

    fn forward(&mut self, spans: &[Span<'_>]) -> Vec<Vec<f32>> {
        self.1.recv().expect("the test lets it go on");
        self.0.forward(spans)
    }

    fn ends(&self, token: u32) -> bool {
        self.0.ends(token)
    }

    fn text(&self, text: &mut Self::Text, token: u32) -> String {
        self.0.text(text, token)
    }

    fn last_text(&self, text: &mut Self::Text) -> String {
        self.0.last_text(text)
    }
}

#[tokio::test]
async fn a_prompt_that_was_sent_before_an_eviction_was_heard_of_finds_what_it_was_sent_for() {
    let (go_on, steps) = channel();
    let engine = handle(Stepwise(Toy::new(limits(20).capacity), steps), 4);
    let mut batches = engine.kv_batches();
    let sent = |tokens: std::ops::Range<u32>, answer, heard| {
        engine.submit(Job { heard: Some(heard), ..job(tokens, answer) }, Instant::now()).unwrap()
    };
    // It leaves eleven of twenty blocks in the cache, after five steps of ten tokens.
    let mut first = sent(0..45, 1, 0);
    (0..5).for_each(|_| go_on.send(()).unwrap());
    while first.recv().await.is_some() {}
    // While this one is answered, another comes that needs more room than is free, and notice of an eviction is given.
    let mut running = sent(200..203, 30, 0);
    go_on.send(()).unwrap();
    running.recv().await.unwrap();
    let mut large = sent(100..136, 1, 0);
    go_on.send(()).unwrap();
    let told = loop {
        let batch = batches.recv().await.unwrap();
        if batch.events.iter().any(|event| matches!(event, KvEvent::Removed { .. })) {
            break batch.sequence;
        }
    };
    let mut sent_before = sent(0..45, 1, told);
    (0..100).for_each(|_| go_on.send(()).unwrap());
    let (_, used) = sent_before.recv().await.unwrap().finish.unwrap();
    assert_eq!((used.prompt, used.cached), (45, 44));
    while large.recv().await.is_some() {}
    assert!(large.is_closed());
}

#[tokio::test]
async fn evictions_are_told_before_the_step_they_are_made_for() {
    let (go_on, steps) = channel();
    let engine = handle(Stepwise(Toy::new(limits(20).capacity), steps), 4);
    let mut batches = engine.kv_batches();
    // It leaves 19 of 20 blocks in the cache, after eight steps of ten tokens.
    let mut first = engine.submit(job(0..77, 1), Instant::now()).unwrap();
    (0..8).for_each(|_| go_on.send(()).unwrap());
    while first.recv().await.is_some() {}
    let mut second = engine.submit(job(100..120, 1), Instant::now()).unwrap();
    let removed = async {
        while !batches
            .recv()
            .await
            .unwrap()
            .events
            .iter()
            .any(|event| matches!(event, KvEvent::Removed { .. }))
        {}
    };
    removed.await;
    assert!(second.try_recv().is_err(), "nothing was computed for it yet");
    (0..2).for_each(|_| go_on.send(()).unwrap());
    assert!(second.recv().await.is_some());
}

#[tokio::test]
async fn a_reader_that_never_reads_stalls_nobody_and_loses_nothing() {
    let engine = handle(Toy::new(limits(20).capacity), 4);
    let mut slow = engine.submit(job([1, 2, 3], 30), Instant::now()).unwrap();
    let mut quick = engine.submit(job([4, 5, 6], 40), Instant::now()).unwrap();
    while quick.recv().await.is_some() {}
    engine.gate().empty().await;
    let mut text = String::new();
    while let Some(update) = slow.recv().await {
        text += &update.text;
    }
    assert_eq!(text, uncached(&job([1, 2, 3], 30)).text);
}

#[tokio::test]
async fn a_job_too_many_is_refused_before_it_waits() {
    let engine = handle(Toy::new(limits(20).capacity), 0);
    let held: Vec<_> = (0..limits(20).max_running).map(|_| engine.gate().enter().unwrap()).collect();
    let refused = engine.submit(job([1], 1), Instant::now()).unwrap_err();
    assert_eq!(refused, Refused::Full { in_flight: held.len() });
    drop(held);
    assert!(engine.submit(job([1], 1), Instant::now()).is_ok());
}

#[tokio::test]
async fn a_dead_engine_ends_its_answers_and_takes_no_more() {
    let engine = handle(Doomed, 4);
    let mut updates = engine.submit(job([1, 2, 3], 30), Instant::now()).unwrap();
    assert!(updates.recv().await.is_none(), "an end without a finish");
    engine.stopped().await;
    engine.gate().empty().await;
    assert!(!engine.is_alive());
    assert_eq!(engine.submit(job([1], 1), Instant::now()).unwrap_err(), Refused::Stopped);
    assert_eq!(engine.clear_cache().await, Err(Refused::Stopped));
}

#[tokio::test]
async fn a_stopped_engine_drops_what_is_in_flight() {
    let engine = handle(Toy::new(limits(20).capacity), 4);
    let mut updates = engine.submit(job([1, 2, 3], 70), Instant::now()).unwrap();
    updates.recv().await.unwrap();
    engine.stop();
    engine.stopped().await;
    engine.gate().empty().await;
    let idle = handle(Toy::new(limits(20).capacity), 4);
    idle.stop();
    idle.stopped().await;
    assert!(!engine.is_alive() && !idle.is_alive());
}
