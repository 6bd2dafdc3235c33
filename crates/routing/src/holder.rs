//! For what a worker keeps a prompt: a request of this gateway, or of another one.

use std::hash::{Hash, Hasher};

use warmroute_kv::BlockHash;

use crate::event::Distant;
use crate::request::BookingId;

/// A request that is answered by a worker with a shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A request of this gateway.
    Own(BookingId),
    /// One of another gateway.
    Distant(Distant),
}

impl Holder {
    /// The name of the first block of its answer, behind `last`.
    pub(crate) fn filler(self, last: BlockHash) -> BlockHash {
        match self {
            Self::Own(id) => last.next_text(&id.0.to_le_bytes()),
            Self::Distant(Distant { gateway, booking }) => {
                last.next_text(&gateway.to_le_bytes()).next_text(&booking.0.to_le_bytes())
            }
        }
    }
}

/// Numbers only, which is all that they are spread by.
impl Hash for Holder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Own(id) => state.write_u64(id.0),
            Self::Distant(Distant { gateway, booking }) => {
                state.write_u64(*gateway);
                state.write_u64(booking.0);
            }
        }
    }
}

impl From<BookingId> for Holder {
    fn from(id: BookingId) -> Self {
        Self::Own(id)
    }
}
