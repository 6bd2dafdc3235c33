//! mimalloc without the detour that its binding takes for most sizes.
//!
//! The binding asks for an alignment each time, and mimalloc answers what is longer than a kilobyte and no power of two with a longer
//! piece of memory in which it looks for an aligned place. Every piece is aligned to a machine word anyway, and hardly any type wants more.

#![expect(unsafe_code, reason = "an allocator is unsafe to implement; every call is handed on as it came")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{mi_malloc, mi_zalloc};
use mimalloc::MiMalloc;

/// Allocation is a good part of what a proxy does per request; mimalloc does it with less locking than the system's.
pub(crate) struct Allocator;

/// What every piece of memory is aligned to: mimalloc's smallest unit.
const WORD: usize = size_of::<usize>();

// SAFETY: mimalloc keeps the contract, and `mi_malloc` and `mi_zalloc` do so for alignments up to a word; all of their memory may be
// given back to `mi_free` and passed to `mi_realloc_aligned`, which is what `MiMalloc` does with it.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= WORD {
            // SAFETY: it takes any size.
            unsafe { mi_malloc(layout.size()) }.cast()
        } else {
            // SAFETY: the caller's.
            unsafe { MiMalloc.alloc(layout) }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= WORD {
            // SAFETY: it takes any size.
            unsafe { mi_zalloc(layout.size()) }.cast()
        } else {
            // SAFETY: the caller's.
            unsafe { MiMalloc.alloc_zeroed(layout) }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }
}
