//! Independent pieces of work on several threads, with results in the order in which the work was stated.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` for every item on at most `threads` threads, and calls `done` after each.
///
/// # Errors
/// The first error in the order of the items that was met; what had not begun by then is not begun.
pub fn in_order<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
    done: impl Fn() + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || {
        while let Some((place, item)) = take(&next, items) {
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            results.lock().expect("nobody panics while holding it").push((place, result));
            done();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(worker);
        }
        // This thread is one of them.
        worker();
    });
    let mut results = results.into_inner().expect("nobody panics while holding it");
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> Option<(usize, &'a T)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    items.get(place).map(|item| (place, item))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items_whatever_ends_first() {
        // The first item can only end once the second has begun on another thread.
        let both = Barrier::new(2);
        let work = |item: &usize| {
            if *item < 2 {
                both.wait();
            }
            Ok::<_, ()>(item * 10)
        };
        assert_eq!(in_order(&[0, 1, 2, 3, 4], 2, work, || ()), Ok(vec![0, 10, 20, 30, 40]));
    }

    #[test]
    fn an_error_ends_the_rest() {
        let done = AtomicUsize::new(0);
        let work = |item: &usize| if *item == 1 { Err("one is bad") } else { Ok(*item) };
        let count = || {
            done.fetch_add(1, Ordering::Relaxed);
        };
        assert_eq!(in_order(&[0, 1, 2, 3], 1, work, count), Err("one is bad"));
        assert_eq!(done.into_inner(), 2);
    }

    #[test]
    fn no_items_and_more_threads_than_items_are_fine() {
        assert_eq!(in_order(&[], 4, |item: &u8| Ok::<_, ()>(*item), || ()), Ok(vec![]));
        assert_eq!(in_order(&[1_u8], 64, |item| Ok::<_, ()>(*item), || ()), Ok(vec![1]));
    }
}
