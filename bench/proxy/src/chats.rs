//! Chats of eight turns, many at once: each question carries all that was said before.

use crate::requests::{body, post, words};

const TURNS: usize = 8;
const SYSTEM_BYTES: usize = 1_000;
const QUESTION_BYTES: usize = 600;
const ANSWER_BYTES: usize = 400;

/// Who talks: every connection has its own chats, so that no question comes before the answer to the one before it.
#[derive(Debug)]
pub struct Chats {
    seed: u64,
    of_one_system: u64,
    rng: fastrand::Rng,
    at_once: usize,
    waiting: u64,
    begun: u64,
    going_on: Vec<Vec<Chat>>,
}

#[derive(Debug)]
struct Chat {
    rng: fastrand::Rng,
    /// Role and text, in turn.
    said: Vec<(&'static str, String)>,
}

impl Chats {
    /// So many in all, and so many at once on each connection; the seed, and how many of them begin with the same system message.
    pub fn new(all: usize, at_once: usize, connections: usize, (seed, of_one_system): (u64, u64)) -> Self {
        let going_on = (0..connections).map(|_| Vec::new()).collect();
        Self {
            seed,
            of_one_system,
            rng: fastrand::Rng::with_seed(seed),
            at_once,
            waiting: all as u64,
            begun: 0,
            going_on,
        }
    }

    /// The next question of one of a connection's chats, drawn at random; false once all its chats are over.
    pub fn write_next(&mut self, connection: usize, request: &mut Vec<u8>) -> bool {
        while self.going_on[connection].len() < self.at_once && self.waiting > 0 {
            self.waiting -= 1;
            self.begun += 1;
            self.going_on[connection].push(Chat::new(self.seed, self.begun, self.begun / self.of_one_system));
        }
        let mine = &mut self.going_on[connection];
        if mine.is_empty() {
            return false;
        }
        let drawn = self.rng.usize(..mine.len());
        *request = mine[drawn].ask();
        if mine[drawn].said.len() > 2 * TURNS {
            mine.swap_remove(drawn);
        }
        true
    }
}

impl Chat {
    fn new(seed: u64, number: u64, system: u64) -> Self {
        let system_seed = seed.wrapping_mul(31).wrapping_add(system);
        let system = words(&mut fastrand::Rng::with_seed(system_seed), SYSTEM_BYTES);
        let rng = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number));
        Self { rng, said: vec![("system", system)] }
    }

    /// The question, after which its answer counts as said: what it was does not matter to a cache of prompts.
    fn ask(&mut self) -> Vec<u8> {
        self.said.push(("user", words(&mut self.rng, QUESTION_BYTES)));
        let messages: Vec<_> = self.said.iter().map(|(role, text)| (*role, text.as_str())).collect();
        let request = post(&body(&messages, false));
        self.said.push(("assistant", words(&mut self.rng, ANSWER_BYTES)));
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chat_has_eight_turns_and_each_begins_as_the_one_before() {
        let mut chats = Chats::new(3, 1, 1, (7, 2));
        let (mut requests, mut request) = (Vec::new(), Vec::new());
        while chats.write_next(0, &mut request) {
            let text = String::from_utf8(request.clone()).unwrap();
            requests.push(text.split_once("\r\n\r\n").unwrap().1.trim_end_matches("]}").to_owned());
        }
        assert_eq!(requests.len(), 3 * TURNS);
        let within = requests.chunks(TURNS).flat_map(|chat| chat.windows(2));
        assert!(within.into_iter().all(|pair| pair[1].starts_with(&pair[0])));
    }
}
