//! The arithmetic of a forward pass on one core, in an order that never depends on what is computed together.

mod dispatch;
mod matrix;
mod pointwise;
mod rows;
mod tile;

pub(super) use dispatch::{Machine, Task, dispatch};
pub(super) use matrix::{Matrix, Operands, Precision, multiply};
pub(super) use pointwise::{Activation, Norm, softmax};
pub(super) use rows::Rows;
pub(super) use tile::{LANES, Lane, accumulate};
