//! The gateway's heap in huge pages: so much from the start, and no more later.
//!
//! What a proxy touches for each request lies scattered over the first megabytes of the heap, and in pages of 4 kB the processor forgets
//! where they are: some percent of CPU. But where the allocator asks for huge pages and the kernel makes them when it comes by, whatever is
//! half used becomes 2 MB, and memory grows for hours while nothing more is in use. So the part that is always in use is huge at once, and
//! the rest never is.

#![expect(
    unsafe_code,
    reason = "advice about memory takes an address; the kinds given here leave what is in it alone"
)]

use std::fs;
use std::ops::Range;
use std::ptr;

use rustix::mm::{Advice, madvise};
use rustix::thread::transparent_huge_pages_are_disabled;

/// What a gateway under load works in; few use more before they hold thousands of connections.
const HUGE: usize = 16 << 20;

/// Holds the heap's first 16 MB in huge pages, and the rest of its mapping, a gigabyte, in small ones. Where the system has no huge pages, or this process is to have
/// none (`MIMALLOC_ALLOW_THP=0`), or the heap is not to be found, nothing is changed: all works as well, at the system's own page sizes.
pub(crate) fn hold_in_huge_pages() {
    let offered = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|modes| !modes.contains("[never]"));
    if !offered || transparent_huge_pages_are_disabled().unwrap_or(true) {
        return;
    }
    let somewhere = Box::new(0_u8);
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some(heap) = mapping_around(ptr::from_ref(&*somewhere).addr(), &maps) else { return };
    let huge = heap.start..heap.end.min(heap.start + HUGE);
    // Each by itself: an old kernel that cannot fill memory ahead still takes the rest of the advice.
    let _ = Pages::Small.advise(huge.end..heap.end);
    let _ = Pages::Huge.advise(huge.clone());
    let _ = Pages::Present.advise(huge);
}

/// What the kernel is told of some memory: nothing that changes what is read from it.
enum Pages {
    Small,
    Huge,
    /// Not only when they are first written to.
    Present,
}

impl Pages {
    fn advise(self, range: Range<usize>) -> rustix::io::Result<()> {
        let advice = match self {
            Self::Small => Advice::LinuxNoHugepage,
            Self::Huge => Advice::LinuxHugepage,
            Self::Present => Advice::LinuxPopulateWrite,
        };
        // SAFETY: each of the three keeps what the memory holds; the last faults pages in as a write of what is there would.
        unsafe { madvise(ptr::without_provenance_mut(range.start), range.len(), advice) }
    }
}

/// The range of addresses that holds this one, from what `/proc/self/maps` says: lines of `start-end rights ..`, in hexadecimal.
fn mapping_around(address: usize, maps: &str) -> Option<Range<usize>> {
    let hexadecimal = |digits: &str| usize::from_str_radix(digits, 16).ok();
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(hexadecimal(start)?..hexadecimal(end)?)
    };
    maps.lines().filter_map(range).find(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_around_an_address_is_found() {
        let maps =
            "1000-3000 r-xp 00000000 fe:00 77   /usr/bin/x\n20000000000-20040000000 rw-p 00000000 00:00 0\n";
        assert_eq!(mapping_around(0x2000, maps), Some(0x1000..0x3000));
        assert_eq!(mapping_around(0x200_0000_0000, maps), Some(0x200_0000_0000..0x200_4000_0000));
        assert_eq!(mapping_around(0x3000, maps), None, "the end is not part of it");
        assert_eq!(mapping_around(0x2000, "nothing of the kind\n"), None);
    }

    #[test]
    fn the_heap_can_be_held() {
        let before = vec![7_u8; 1 << 20];
        hold_in_huge_pages();
        let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
        assert!(mapping_around(before.as_ptr().addr(), &maps).is_some());
        assert!(before.iter().all(|byte| *byte == 7), "what memory holds is left alone");
    }
}
