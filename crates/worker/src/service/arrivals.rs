//! Requests are taken in the order in which their router sent them, whichever connection is read first.
//!
//! A router that follows our KV events counts on what it sent here before: this prompt will find what that one will have read. It numbers
//! what it sends, and says how much it had heard of our cache ([`Departed`]). Where two connections are read in the other order, the later
//! request waits for the earlier one, for a moment: one that was never sent must not hold up those behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};
use tokio::sync::watch;
use tokio::time::timeout;

use super::turns::{Turn, Turns};

/// What a router says of a request that it sends.
const DEPARTED: HeaderName = HeaderName::from_static("x-warmroute-departed");

/// Longer than this nobody waits for those before: a connection that was opened just now is read within milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);

/// Routers whose requests are counted at a time; a worker has few.
const MOST_ROUTERS: usize = 64;

/// Where a request stands among all that its router sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departed {
    router: u64,
    /// From zero, without gaps.
    number: u64,
    /// Messages about our cache that it had heard.
    pub(super) heard: u64,
}

impl Departed {
    /// What the header says, `ROUTER.NUMBER.HEARD` in decimal digits. One that is not understood says nothing.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut numbers = headers.get(DEPARTED)?.to_str().ok()?.split('.').map(decimal);
        let mut next = || numbers.next().flatten();
        let departed = Self { router: next()?, number: next()?, heard: next()? };
        numbers.next().is_none().then_some(departed)
    }
}

/// A number in decimal digits and nothing else: the standard library's parser takes a sign as well.
fn decimal(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The number that comes next, by router, who was heard last coming last.
type Expected = VecDeque<(u64, u64)>;

/// All that have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals(Arc<watch::Sender<Expected>>);

impl Arrivals {
    /// A place in the order of all prompts, behind those that were sent before.
    pub(super) async fn take(&self, turns: &Turns, departed: Option<Departed>) -> Turn {
        let Some(Departed { router, number, .. }) = departed else { return turns.take() };
        let comes = |expected: &Expected| {
            let next = expected.iter().find(|(known, _)| *known == router).map_or(0, |(_, next)| *next);
            next >= number
        };
        if !comes(&self.0.borrow()) {
            let mut expected = self.0.subscribe();
            let _ = timeout(PATIENCE, expected.wait_for(comes)).await;
        }
        let turn = turns.take();
        self.0.send_modify(|expected| {
            let known = expected.iter().position(|(known, _)| *known == router);
            let next = known.and_then(|place| expected.remove(place)).map_or(0, |(_, next)| next);
            if expected.len() == MOST_ROUTERS {
                expected.pop_front();
            }
            expected.push_back((router, next.max(number.saturating_add(1))));
        });
        turn
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    const fn departed(router: u64, number: u64) -> Option<Departed> {
        Some(Departed { router, number, heard: 0 })
    }

    /// What a header of these bytes says; nothing where no header may have them.
    fn said(value: &[u8]) -> Option<Departed> {
        Departed::of(&HeaderMap::from_iter([(DEPARTED, HeaderValue::from_bytes(value).ok()?)]))
    }

    #[test]
    fn a_header_is_understood_or_says_nothing() {
        assert_eq!(said(b"7.1.42"), Some(Departed { router: 7, number: 1, heard: 42 }));
        for odd in ["", "7", "7.1", "7.1.x", "7.1.42.0", "-7.1.42", "+7.1.42", "99999999999999999999.1.1"] {
            assert_eq!(said(odd.as_bytes()), None, "{odd:?}");
        }
        assert_eq!(Departed::of(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn any_three_numbers_are_understood(router: u64, number: u64, heard: u64) {
            let header = format!("{router}.{number}.{heard}");
            prop_assert_eq!(said(header.as_bytes()), Some(Departed { router, number, heard }));
        }

        #[test]
        fn of_any_other_bytes_only_three_numbers_are_understood(
            header in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), "[0-9.+ -]{0,12}".prop_map(String::into_bytes)],
        ) {
            let digits = |part: &[u8]| !part.is_empty() && part.len() < 20 && part.iter().all(u8::is_ascii_digit);
            let parts: Vec<_> = header.split(|byte| *byte == b'.').collect();
            let is_three_numbers = parts.len() == 3 && parts.iter().all(|part| digits(part));
            prop_assert_eq!(said(&header).is_some(), is_three_numbers);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_sent_later_waits_for_who_was_sent_before_and_for_no_other_router() {
        let (arrivals, turns) = (Arrivals::default(), Turns::default());
        assert!(arrivals.take(&turns, None).now_or_never().is_some());
        let began = Instant::now();
        let (second, first) =
            tokio::join!(arrivals.take(&turns, departed(1, 1)), arrivals.take(&turns, departed(1, 0)));
        assert!(second.number > first.number && began.elapsed().is_zero());
        assert!(arrivals.take(&turns, departed(2, 0)).now_or_never().is_some());
        assert!(arrivals.take(&turns, departed(1, 2)).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_comes_is_waited_for_once() {
        let (arrivals, turns) = (Arrivals::default(), Turns::default());
        let began = Instant::now();
        arrivals.take(&turns, departed(1, 5)).await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(arrivals.take(&turns, departed(1, 6)).now_or_never().is_some());
        assert!(arrivals.take(&turns, departed(1, 3)).now_or_never().is_some(), "late, and not turned away");
        assert!(arrivals.take(&turns, departed(1, 7)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn few_routers_are_counted() {
        let (arrivals, turns) = (Arrivals::default(), Turns::default());
        for router in 0..1_000 {
            arrivals.take(&turns, departed(router, 0)).await;
        }
        assert_eq!(arrivals.0.borrow().len(), MOST_ROUTERS);
    }
}
