//! Writes the manual of one help desk and the questions its customers ask, from a seeded generator and nothing else.
//!
//! A manual is a list of sentences, longer than any range asks for: the caller keeps as many as fit its count of tokens.
//! The same generator state gives the same text whatever the tokenizer, so a seed names the text up to where it is cut.

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};

use super::vocabulary::{
    CONDITIONS, DAYS, GOODS, HOURS, PEOPLE, PLACES, QUESTIONS, RULES, STREETS, TRADES, Trade,
};

/// Times the whole list of rules is gone through, in a new order and with new facts each time: over 2,000 tokens.
const ROUNDS: usize = 3;

/// Most desks that have names of their own.
pub(super) const MOST_DESKS: usize = PLACES.len() * TRADES.len();

/// Most different questions one desk can be asked.
pub(super) const MOST_QUESTIONS: usize = QUESTIONS.len() * 6;

/// One help desk before its manual is cut to length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manual {
    /// The sentences, in order; the first two say whose manual it is.
    pub(super) sentences: Vec<String>,
    /// Different questions, in the order they would be asked.
    pub(super) questions: Vec<String>,
}

/// Writes desk number `desk` (below [`MOST_DESKS`]) with `questions` (at most [`MOST_QUESTIONS`]) questions.
pub(super) fn write(desk: usize, questions: usize, chance: &mut impl Rng) -> Manual {
    let place = PLACES[desk % PLACES.len()];
    // Each turn through the places shifts the trades by one, so no pair of place and trade comes twice.
    let trade = &TRADES[(desk + desk / PLACES.len()) % TRADES.len()];
    let mut sentences = vec![
        format!(
            "{place} {} is a family business in {}, and this is its manual.",
            trade.name,
            pick(STREETS, chance)
        ),
        format!("You are the help desk of {place} {}: answer in one short sentence.", trade.name),
    ];
    for _ in 0..ROUNDS {
        let mut rules = RULES.to_vec();
        rules.shuffle(chance);
        sentences.extend(rules.into_iter().map(|rule| fill(rule, trade, chance)));
    }
    Manual { sentences, questions: ask(trade, questions, chance) }
}

fn ask(trade: &Trade, count: usize, chance: &mut impl Rng) -> Vec<String> {
    let mut stock: Vec<String> = QUESTIONS
        .iter()
        .flat_map(|question| trade.products.iter().map(|product| question.replace("{product}", product)))
        .collect();
    stock.shuffle(chance);
    stock.truncate(count);
    stock
}

/// Puts a fact in each `{slot}` of `pattern`.
fn fill(pattern: &str, trade: &Trade, chance: &mut impl Rng) -> String {
    let mut text = String::with_capacity(2 * pattern.len());
    let mut rest = pattern;
    while let Some((before, slot_and_after)) = rest.split_once('{') {
        let (slot, after) = slot_and_after.split_once('}').expect("every slot of the vocabulary is closed");
        text.push_str(before);
        match slot {
            "product" => text.push_str(pick(&trade.products, chance)),
            "number" => text.push_str(&chance.random_range(2..=98).to_string()),
            list => text.push_str(pick(words(list), chance)),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

fn words(list: &str) -> &'static [&'static str] {
    match list {
        "day" => DAYS,
        "hour" => HOURS,
        "person" => PEOPLE,
        "street" => STREETS,
        "condition" => CONDITIONS,
        "goods" => GOODS,
        other => unreachable!("the vocabulary has no list called {other}"),
    }
}

fn pick<'a>(list: &[&'a str], chance: &mut impl Rng) -> &'a str {
    list.choose(chance).expect("no list of the vocabulary is empty")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    fn manual(desk: usize, seed: u64) -> Manual {
        write(desk, 24, &mut Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    #[test]
    fn the_same_seed_writes_the_same_manual_and_another_seed_another() {
        assert_eq!(manual(3, 7), manual(3, 7));
        assert_ne!(manual(3, 7), manual(3, 8));
    }

    #[test]
    fn no_two_desks_start_with_the_same_twenty_characters() {
        let starts: HashSet<String> =
            (0..MOST_DESKS).map(|desk| manual(desk, 1).sentences[0].chars().take(20).collect()).collect();
        assert_eq!(starts.len(), MOST_DESKS);
    }

    #[test]
    fn every_slot_is_filled_and_every_question_differs() {
        let one = write(0, MOST_QUESTIONS, &mut Xoshiro256PlusPlus::seed_from_u64(1));
        assert!(!one.sentences.iter().chain(&one.questions).any(|text| text.contains(['{', '}'])));
        assert_eq!(one.questions.iter().collect::<HashSet<_>>().len(), MOST_QUESTIONS);
    }
}
