//! Workloads: which requests are sent, in which order, made from a seed and a tokenizer's counts.
//!
//! - `phrases`: two prompts, three trials each, interleaved and one at a time; the proof of concept's.
//! - `desks`: a dozen help desks with long system prompts of their own and short questions, shuffled.
//! - `preamble`: as `desks`, but every system prompt starts with the same sentence, which no short hash key survives.
//!
//! Lengths are promised in tokens of the model under test: text is written first, then cut at a sentence where the
//! [`Ruler`] says so. Equal seeds, shapes and tokenizers give equal requests.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use warmroute_kv::Tokens;

use self::manual::{MOST_DESKS, MOST_QUESTIONS, Manual};
use self::vocabulary::{PHRASES, PREAMBLE};
use crate::client::CallError;
use crate::ruler::Ruler;

mod manual;
mod vocabulary;

/// Times each phrase is sent, as in the proof of concept.
const PHRASE_TRIALS: usize = 3;

/// As many as a small machine has cores: the demo's workers share them, and with more clients the tables would show the wait for
/// a core instead of the caches.
const DESK_CLIENTS: usize = 2;

/// The workloads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two prompts again and again.
    Phrases,
    /// Long system prompts, short questions.
    Desks,
    /// The same after a sentence they all share.
    Preamble,
}

impl Kind {
    /// Every workload, in the order a comparison runs them.
    pub const ALL: [Self; 3] = [Self::Phrases, Self::Desks, Self::Preamble];

    /// Its name in flags, tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Phrases => "phrases",
            Self::Desks => "desks",
            Self::Preamble => "preamble",
        }
    }

    /// Requests in flight at once, unless the user says otherwise.
    pub fn clients(self) -> usize {
        match self {
            Self::Phrases => 1,
            Self::Desks | Self::Preamble => DESK_CLIENTS,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = WorkloadError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| WorkloadError::Unknown { name: name.to_owned() })
    }
}

/// How large a workload is made.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Where all chance comes from.
    pub seed: u64,
    /// Help desks; each has a system prompt of its own.
    pub desks: usize,
    /// Questions asked of each desk.
    pub questions: usize,
    /// Tokens a system prompt may have.
    pub system_tokens: RangeInclusive<u32>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { seed: 42, desks: 12, questions: 24, system_tokens: 500..=900 }
    }
}

/// The prompt of one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Plain text to be continued.
    Completion {
        /// The text.
        prompt: String,
    },
    /// A system prompt and one question.
    Chat {
        /// The manual.
        system: String,
        /// The question.
        question: String,
    },
}

impl Body {
    /// All of its text.
    fn text(&self) -> String {
        match self {
            Self::Completion { prompt } => prompt.clone(),
            Self::Chat { system, question } => format!("{system} {question}"),
        }
    }
}

/// One request of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The prompt family it belongs to: its desk or its phrase.
    pub desk: usize,
    /// What is asked.
    pub body: Body,
}

/// A list of requests in the order they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Which one it is.
    pub kind: Kind,
    /// The requests; one is named by its place in this list.
    pub requests: Vec<Request>,
    /// Tokens of the prompts that requests share: what a cache that holds everything would hold.
    pub set: Tokens,
}

impl Workload {
    /// Writes the workload `kind`.
    ///
    /// # Errors
    /// If the shape asks for more than the vocabulary can say, or the tokenizer does not answer.
    pub async fn build(kind: Kind, shape: &Shape, ruler: &Ruler) -> Result<Self, WorkloadError> {
        match kind {
            Kind::Phrases => phrases(ruler).await,
            Kind::Desks => desks(kind, "", shape, ruler).await,
            Kind::Preamble => desks(kind, PREAMBLE, shape, ruler).await,
        }
    }

    /// The place from which on every desk has been asked at least once by an earlier request.
    pub fn warm_from(&self) -> usize {
        let mut seen = HashSet::new();
        let firsts = self.requests.iter().enumerate().filter(|(_, request)| seen.insert(request.desk));
        firsts.last().map_or(0, |(place, _)| place + 1)
    }

    /// Tokens of the longest prompt, chat template included; by the rule of thumb where ids are unknown.
    ///
    /// # Errors
    /// If the tokenizer does not answer.
    pub async fn longest(&self, ruler: &Ruler) -> Result<Tokens, CallError> {
        let mut longest = Tokens::ZERO;
        for request in &self.requests {
            let length = match ruler.ids(&request.body).await? {
                Some(ids) => Tokens::of(ids.len()),
                None => ruler.count(&request.body.text()).await?,
            };
            longest = longest.max(length);
        }
        Ok(longest)
    }

    /// The place at which the prompt of each request is first asked; requests with one prompt share one right answer.
    pub fn first_of_each(&self) -> Vec<usize> {
        let mut first = HashMap::new();
        let places = self.requests.iter().enumerate();
        places.map(|(place, request)| *first.entry(&request.body).or_insert(place)).collect()
    }
}

/// Why a workload could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// No workload of that name.
    #[error("there is no workload `{name}`; hint: phrases, desks, preamble or all")]
    Unknown {
        /// As it was given.
        name: String,
    },
    /// The vocabulary has an end.
    #[error(
        "{desks} desks with {questions} questions each cannot be written; hint: 1 to {MOST_DESKS} desks and 1 to {MOST_QUESTIONS} questions"
    )]
    Shape {
        /// As asked.
        desks: usize,
        /// As asked.
        questions: usize,
    },
    /// No number of sentences has a length in the range.
    #[error("no system prompt of {} to {} tokens can be cut from a text of {text} tokens; hint: widen the range", range.start(), range.end())]
    Length {
        /// As asked.
        range: RangeInclusive<u32>,
        /// What was written.
        text: Tokens,
    },
    /// The tokenizer did not answer.
    #[error(transparent)]
    Ruler(#[from] CallError),
}

async fn phrases(ruler: &Ruler) -> Result<Workload, WorkloadError> {
    let mut set = Tokens::ZERO;
    for phrase in PHRASES {
        set += ruler.count(phrase).await?;
    }
    let interleaved = (0..PHRASE_TRIALS).flat_map(|_| PHRASES.into_iter().enumerate());
    let requests = interleaved
        .map(|(desk, phrase)| Request { desk, body: Body::Completion { prompt: phrase.to_owned() } })
        .collect();
    Ok(Workload { kind: Kind::Phrases, requests, set })
}

async fn desks(kind: Kind, preamble: &str, shape: &Shape, ruler: &Ruler) -> Result<Workload, WorkloadError> {
    if !(1..=MOST_DESKS).contains(&shape.desks) || !(1..=MOST_QUESTIONS).contains(&shape.questions) {
        return Err(WorkloadError::Shape { desks: shape.desks, questions: shape.questions });
    }
    // The kind is part of the seed: two workloads of one run must not share prompts, or one would warm the other.
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(shape.seed ^ ((kind as u64) << 56));
    let mut requests = Vec::with_capacity(shape.desks * shape.questions);
    let mut set = Tokens::ZERO;
    for desk in 0..shape.desks {
        let Manual { mut sentences, questions } = manual::write(desk, shape.questions, &mut chance);
        if !preamble.is_empty() {
            sentences.insert(0, preamble.to_owned());
        }
        let target = draw_target(&shape.system_tokens, &mut chance);
        let (system, tokens) = cut(&sentences, target, &shape.system_tokens, ruler).await?;
        set += tokens;
        requests.extend(
            questions
                .into_iter()
                .map(|question| Request { desk, body: Body::Chat { system: system.clone(), question } }),
        );
    }
    requests.shuffle(&mut chance);
    Ok(Workload { kind, requests, set })
}

/// Longest sentence of a manual in tokens, generously: a cut at a sentence falls short of its target by less than this.
const SENTENCE_TOKENS: u32 = 64;

/// A length that a cut at a sentence can end at most a sentence below, and still be in range.
fn draw_target(range: &RangeInclusive<u32>, chance: &mut Xoshiro256PlusPlus) -> u32 {
    chance.random_range((range.start() + SENTENCE_TOKENS).min(*range.end())..=*range.end())
}

/// The longest run of leading sentences of at most `target` tokens, and its length.
async fn cut(
    sentences: &[String],
    target: u32,
    range: &RangeInclusive<u32>,
    ruler: &Ruler,
) -> Result<(String, Tokens), WorkloadError> {
    // Bisection, since a count is a round trip: `fits` sentences are known to fit, `beyond` are not.
    let (mut fits, mut beyond) = (0, sentences.len() + 1);
    let mut length = Tokens::ZERO;
    while beyond - fits > 1 {
        let middle = fits.midpoint(beyond);
        let count = ruler.count(&sentences[..middle].join(" ")).await?;
        if count.0 <= target {
            (fits, length) = (middle, count);
        } else {
            beyond = middle;
        }
    }
    if range.contains(&length.0) {
        Ok((sentences[..fits].join(" "), length))
    } else {
        Err(WorkloadError::Length { range: range.clone(), text: length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn build(kind: Kind, shape: &Shape) -> Workload {
        Workload::build(kind, shape, &Ruler::Estimate).await.unwrap()
    }

    fn systems(workload: &Workload) -> HashSet<&str> {
        workload
            .requests
            .iter()
            .filter_map(|request| match &request.body {
                Body::Chat { system, .. } => Some(system.as_str()),
                Body::Completion { .. } => None,
            })
            .collect()
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_requests() {
        let shape = Shape::default();
        for kind in Kind::ALL {
            assert_eq!(build(kind, &shape).await, build(kind, &shape).await, "{kind}");
        }
        let other = Shape { seed: 43, ..Shape::default() };
        assert_ne!(build(Kind::Desks, &shape).await, build(Kind::Desks, &other).await);
    }

    #[tokio::test]
    async fn desks_have_the_promised_numbers_and_lengths() {
        for seed in 0..20 {
            let desks = build(Kind::Desks, &Shape { seed, ..Shape::default() }).await;
            assert_eq!(desks.requests.len(), 12 * 24);
            let systems = systems(&desks);
            assert_eq!(systems.len(), 12);
            let mut total = Tokens::ZERO;
            for system in systems {
                let tokens = Ruler::Estimate.count(system).await.unwrap();
                assert!((500..=900).contains(&tokens.0), "seed {seed}: {tokens} tokens");
                total += tokens;
            }
            assert_eq!(total, desks.set);
            assert_eq!(
                desks.requests.iter().map(|request| &request.body).collect::<HashSet<_>>().len(),
                12 * 24
            );
        }
    }

    #[tokio::test]
    async fn every_preamble_prompt_starts_with_the_same_hundred_characters() {
        let preamble = build(Kind::Preamble, &Shape::default()).await;
        assert!(PREAMBLE.len() >= 100);
        let systems = systems(&preamble);
        assert_eq!(systems.len(), 12);
        assert!(systems.iter().all(|system| system.starts_with(PREAMBLE)));
    }

    #[tokio::test]
    async fn phrases_are_interleaved_and_have_blocks_to_cache() {
        let phrases = build(Kind::Phrases, &Shape::default()).await;
        let order: Vec<usize> = phrases.requests.iter().map(|request| request.desk).collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 1]);
        assert_eq!(phrases.first_of_each(), [0, 1, 0, 1, 0, 1]);
        assert_eq!(phrases.warm_from(), 2);
        for phrase in PHRASES {
            assert!(Ruler::Estimate.count(phrase).await.unwrap() > Tokens(64));
        }
    }

    #[tokio::test]
    async fn a_shape_that_cannot_be_written_is_refused_with_a_hint() {
        let shape = Shape { questions: 1_000, ..Shape::default() };
        let error = Workload::build(Kind::Desks, &shape, &Ruler::Estimate).await.unwrap_err().to_string();
        assert!(error.contains("1000 questions") && error.contains("hint:"), "{error}");
        assert!("desk".parse::<Kind>().unwrap_err().to_string().contains("hint:"));
    }
}
