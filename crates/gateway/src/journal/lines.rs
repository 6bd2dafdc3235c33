//! Writes lines in a thread of its own, through a bounded queue: nobody who sends one ever waits for a disk.
//!
//! A thread and not a task, since writing to a file blocks. It puts together what is in the queue and writes it when the queue is empty,
//! so that a busy log costs few system calls and a quiet one is up to date.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::access::Line;
use super::{Entry, LogError, trace};
use crate::config::Sink;

/// What is written of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Everything about it.
    Access,
    /// What a replay needs.
    Trace { block_bytes: usize },
}

/// A log and its thread.
pub(super) struct Lines {
    /// `None` once it is closed.
    queue: Mutex<Option<SyncSender<Arc<Entry>>>>,
    stale: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Lines {
    /// Opens the log `name` at `sink`; so many lines may wait.
    pub(super) fn open(name: &'static str, sink: &Sink, kind: Kind, most: usize) -> Result<Self, LogError> {
        let failed = |source| LogError { log: name, sink: sink.to_string(), source };
        let (queue, lines) = sync_channel(most);
        let stale = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            name,
            kind,
            opened: Instant::now(),
            out: BufWriter::new(open(sink).map_err(failed)?),
            sink: sink.clone(),
            stale: Arc::clone(&stale),
            failing: false,
        };
        let thread =
            Builder::new().name(name.to_owned()).spawn(move || writer.run(&lines)).map_err(failed)?;
        Ok(Self { queue: Mutex::new(Some(queue)), stale, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a request over; `false` if the queue is full or closed and it is dropped.
    pub(super) fn send(&self, entry: &Arc<Entry>) -> bool {
        self.queue.lock().as_ref().is_some_and(|queue| queue.try_send(Arc::clone(entry)).is_ok())
    }

    /// The next line goes to a file opened anew.
    pub(super) fn reopen(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Writes what waits, and ends the thread.
    pub(super) fn close(&self) {
        *self.queue.lock() = None;
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the writer has been told by the panic itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.close();
    }
}

fn open(sink: &Sink) -> io::Result<Box<dyn Write + Send>> {
    Ok(match sink {
        Sink::Stdout => Box::new(io::stdout()),
        Sink::Stderr => Box::new(io::stderr()),
        Sink::File(path) => Box::new(append(&path.0)?),
    })
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// What the thread has.
struct Writer {
    name: &'static str,
    kind: Kind,
    opened: Instant,
    sink: Sink,
    out: BufWriter<Box<dyn Write + Send>>,
    stale: Arc<AtomicBool>,
    /// Whether the last line could not be written, which is told once.
    failing: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Arc<Entry>>) {
        while let Ok(entry) = lines.recv() {
            if self.stale.swap(false, Ordering::AcqRel) {
                self.open_anew();
            }
            let mut written = self.line(&entry);
            let ended = loop {
                match lines.try_recv() {
                    Ok(entry) => written = written.and_then(|()| self.line(&entry)),
                    Err(TryRecvError::Empty) => break false,
                    Err(TryRecvError::Disconnected) => break true,
                }
            };
            let flushed = self.out.flush();
            self.tell(written.and(flushed));
            if ended {
                return;
            }
        }
    }

    fn line(&mut self, entry: &Entry) -> io::Result<()> {
        match self.kind {
            Kind::Access => serde_json::to_writer(&mut self.out, &Line::from(entry))?,
            Kind::Trace { block_bytes } => {
                let after = entry.arrived.saturating_duration_since(self.opened);
                match trace::row(entry, after, block_bytes) {
                    Some(row) => serde_json::to_writer(&mut self.out, &row)?,
                    None => return Ok(()),
                }
            }
        }
        self.out.write_all(b"\n")
    }

    fn open_anew(&mut self) {
        match open(&self.sink) {
            Ok(file) => self.out = BufWriter::new(file),
            Err(error) => self.tell(Err(error)),
        }
    }

    fn tell(&mut self, written: io::Result<()>) {
        let failed = written.is_err();
        if let (Err(error), false) = (written, self.failing) {
            tracing::error!(log = self.name, sink = %self.sink, %error, "lines cannot be written");
        }
        self.failing = failed;
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::config::FilePath;

    fn entry(id: &'static str) -> Arc<Entry> {
        Arc::new(Entry::new(HeaderValue::from_static(id), Method::POST, "/"))
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("warmroute-{name}-{}", std::process::id()))
    }

    #[test]
    fn lines_are_written_in_order_and_all_of_them_before_the_end() {
        let path = scratch("lines");
        let lines = Lines::open("access_log", &Sink::File(FilePath(path.clone())), Kind::Access, 8).unwrap();
        assert!(lines.send(&entry("a")) && lines.send(&entry("b")));
        lines.close();
        assert!(!lines.send(&entry("c")), "closed");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let ids: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["request_id"].clone())
            .collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let (path, rotated) = (scratch("rotated"), scratch("rotated.1"));
        let lines = Lines::open("access_log", &Sink::File(FilePath(path.clone())), Kind::Access, 8).unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        lines.reopen();
        lines.send(&entry("a"));
        lines.close();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), std::fs::read_to_string(&rotated).unwrap().as_str()), (1, ""));
        for path in [path, rotated] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_full_queue_takes_no_more_and_does_not_wait() {
        let (queue, waiting) = sync_channel(1);
        let lines = Lines { queue: Mutex::new(Some(queue)), stale: Arc::default(), thread: Mutex::default() };
        assert!(lines.send(&entry("a")));
        assert!(!lines.send(&entry("b")));
        drop(waiting);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_refused_at_the_start() {
        let sink = Sink::File(FilePath("/nowhere/at/all.jsonl".into()));
        let error = Lines::open("access_log", &sink, Kind::Access, 8).err().unwrap().to_string();
        assert!(error.contains("/nowhere/at/all.jsonl") && error.contains("hint: "), "{error}");
    }
}
