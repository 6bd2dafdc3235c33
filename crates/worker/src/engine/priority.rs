//! The inference thread steps back for whatever moves bytes.
//!
//! It computes for milliseconds without a pause, while a request needs the processor for some microseconds at a time: to
//! be read, to be routed, to have its tokens sent. On a machine with as many workers as cores the scheduler made those
//! microseconds wait for the end of a time slice, which cost a warm request more than its whole prompt.

/// How far back: enough for a thread that wakes to go first, while other programs that compute take less than three times
/// our share.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Lowers the priority of the calling thread. Where that cannot be done, the thread just keeps what it has.
#[cfg(target_os = "linux")]
pub(super) fn step_back() {
    // On Linux priorities belong to threads, and the call takes a thread's id for a process's.
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICENESS) {
        tracing::debug!(%error, "the inference thread keeps its priority");
    }
}

/// Elsewhere priorities belong to processes.
#[cfg(not(target_os = "linux"))]
pub(super) fn step_back() {}
