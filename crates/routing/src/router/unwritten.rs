//! What a decision leaves to be written down: nobody but later decisions asks for it, so it is written with whatever call comes next, and
//! whoever waits for the decision does not wait for it.

use super::Router;
use crate::ghost::News;
use crate::request::BookingId;

/// What the last call left.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// What the ghost has not of the prompt of a booking.
    pub(super) news: Option<(BookingId, News)>,
    /// How many marks it keeps.
    pub(super) most_marks: usize,
    /// The booking whose prompt others are to be promised.
    pub(super) promise: Option<BookingId>,
}

impl Router {
    /// Writes it down. To be done first in every call that reads or changes any of it.
    pub(super) fn write_up(&mut self) {
        if let Some((id, news)) = self.unwritten.news.take()
            && let Some(booking) = self.bookings.get(id)
        {
            self.ghost.take_in(booking.footprint().blocks, news, self.unwritten.most_marks);
        }
        if let Some(id) = self.unwritten.promise.take()
            && let Some(booking) = self.bookings.get(id)
        {
            self.promises.make(booking.worker, booking.footprint().blocks);
        }
    }
}
