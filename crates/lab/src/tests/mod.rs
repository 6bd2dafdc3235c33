//! What only the tests of this crate use.

pub(crate) mod stand_in;
