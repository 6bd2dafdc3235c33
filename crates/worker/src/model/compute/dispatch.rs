//! One source of arithmetic, compiled once per instruction set, chosen at run time.
//!
//! A [`Task`] is plain scalar-looking Rust over arrays of [`super::LANES`]; inlined into a function that has
//! wider vectors switched on, the compiler turns it into those. This is the only place in the worker that
//! needs `unsafe`.
//!
//! Results may differ between machines (with and without fused multiply-add) but never within one.

/// What the arithmetic may assume about the machine it is compiled for.
pub(in crate::model) trait Machine {
    /// Whether a fused multiply-add is one instruction. Where it is not, `f32::mul_add` would be a library
    /// call.
    const FUSED: bool;
    /// Rows of accumulators (of [`super::LANES`] each) that fit the registers beside the operands.
    const TILE_ROWS: usize;

    /// `a * b + c`, rounded once or twice depending on the machine.
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        if Self::FUSED { a.mul_add(b, c) } else { a * b + c }
    }
}

/// A piece of arithmetic to be compiled for each machine.
///
/// `run` and all it calls in its inner loops must be `#[inline(always)]`: a function that is not inlined is
/// compiled for the baseline, and slow.
pub(in crate::model) trait Task {
    /// What the arithmetic returns.
    type Output;
    /// Does it.
    fn run<M: Machine>(self) -> Self::Output;
}

struct Portable;
impl Machine for Portable {
    const FUSED: bool = cfg!(not(any(target_arch = "x86", target_arch = "x86_64")));
    const TILE_ROWS: usize = 4;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Machine, Task};

    pub(super) struct Avx2;
    impl Machine for Avx2 {
        const FUSED: bool = true;
        const TILE_ROWS: usize = 6;
    }

    pub(super) struct Avx512;
    impl Machine for Avx512 {
        const FUSED: bool = true;
        const TILE_ROWS: usize = 12;
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn avx2<T: Task>(task: T) -> T::Output {
        task.run::<Avx2>()
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    pub(super) fn avx512<T: Task>(task: T) -> T::Output {
        task.run::<Avx512>()
    }

    pub(super) fn has_avx2() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
    }

    pub(super) fn has_avx512() -> bool {
        has_avx2()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
    }
}

/// Runs `task` on the best instruction set this machine has.
pub(in crate::model) fn dispatch<T: Task>(task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if x86::has_avx512() {
            #[expect(unsafe_code, reason = "calling a function with target features from one without them")]
            // SAFETY: `has_avx512` has just seen every feature the function enables.
            return unsafe { x86::avx512(task) };
        }
        if x86::has_avx2() {
            #[expect(unsafe_code, reason = "calling a function with target features from one without them")]
            // SAFETY: `has_avx2` has just seen every feature the function enables.
            return unsafe { x86::avx2(task) };
        }
    }
    task.run::<Portable>()
}

/// What `task` gives on each machine this one can stand in for, and whether that one fuses.
#[cfg(test)]
pub(in crate::model) fn on_each_machine<T: Task>(task: impl Fn() -> T) -> Vec<(bool, T::Output)> {
    let mut outputs = vec![(Portable::FUSED, task().run::<Portable>())];
    #[cfg(target_arch = "x86_64")]
    {
        if x86::has_avx2() {
            #[expect(unsafe_code, reason = "calling a function with target features from one without them")]
            // SAFETY: `has_avx2` has just seen every feature the function enables.
            outputs.push((true, unsafe { x86::avx2(task()) }));
        }
        if x86::has_avx512() {
            #[expect(unsafe_code, reason = "calling a function with target features from one without them")]
            // SAFETY: `has_avx512` has just seen every feature the function enables.
            outputs.push((true, unsafe { x86::avx512(task()) }));
        }
    }
    outputs
}
