//! Stop strings: text after one is never emitted, wherever the token borders fall.
//!
//! A stop string may be spread over several tokens, so the longest end of the text that could still become one is held
//! back until the next token decides. What is held is shorter than the longest stop string.

/// Watches one answer's text for its stop strings.
#[derive(Debug)]
pub(super) struct StopScanner {
    stops: Vec<String>,
    held: String,
}

/// What a piece of text leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// No stop so far; this much may be emitted.
    Open(String),
    /// A stop string was reached; this is the last text of the answer.
    Stopped(String),
}

impl StopScanner {
    /// A scanner for `stops`; empty strings among them are ignored.
    pub(super) fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self { stops, held: String::new() }
    }

    /// Takes the next piece of the answer.
    pub(super) fn push(&mut self, text: &str) -> Scan {
        if self.stops.is_empty() {
            return Scan::Open(text.to_owned());
        }
        self.held.push_str(text);
        if let Some(start) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(start);
            return Scan::Stopped(std::mem::take(&mut self.held));
        }
        let open = self.held.len() - self.hold();
        let rest = self.held.split_off(open);
        Scan::Open(std::mem::replace(&mut self.held, rest))
    }

    /// The text still held when the answer ends for another reason.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text that begins a stop string.
    fn hold(&self) -> usize {
        let begins = |start: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*start..]));
        let starts = self.held.char_indices().map(|(start, _)| start);
        starts.into_iter().find(begins).map_or(0, |start| self.held.len() - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The emitted text, and whether a stop ended it.
    fn scan(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut scanner = StopScanner::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut emitted = String::new();
        for piece in pieces {
            match scanner.push(piece) {
                Scan::Open(text) => emitted += &text,
                Scan::Stopped(text) => return (emitted + &text, true),
            }
        }
        (emitted + &scanner.finish(), false)
    }

    #[test]
    fn a_stop_over_token_borders_is_found_and_nothing_of_it_emitted() {
        assert_eq!(scan(&["END"], &["one E", "N", "D two"]), ("one ".to_owned(), true));
    }

    #[test]
    fn text_that_only_looked_like_a_stop_comes_out_later() {
        assert_eq!(scan(&["END"], &["E", "N", "ERGY"]), ("ENERGY".to_owned(), false));
        assert_eq!(
            scan(&["aab"], &["a", "a", "a", "b"]),
            ("a".to_owned(), true),
            "a false start may hide a true one"
        );
    }

    #[test]
    fn the_earliest_stop_wins() {
        assert_eq!(scan(&["later", "now"], &["not now, later"]), ("not ".to_owned(), true));
    }

    #[test]
    fn an_unfinished_stop_at_the_end_is_text() {
        assert_eq!(scan(&["\n\n"], &["line\n"]), ("line\n".to_owned(), false));
    }

    #[test]
    fn characters_of_several_bytes_are_never_cut() {
        assert_eq!(scan(&["né!"], &["né", "né", "é"]), ("nénéé".to_owned(), false));
    }

    #[test]
    fn every_cut_of_a_text_gives_the_same_answer() {
        let text = "abcabdabcabcabd";
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(
                    scan(&["cabca", "cabcabd"], &pieces),
                    ("abcabdab".to_owned(), true),
                    "cut at {first}, {second}"
                );
            }
        }
    }
}
