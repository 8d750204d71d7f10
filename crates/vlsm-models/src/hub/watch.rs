//! Downloads that end when the hub falls silent.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use hf_hub::api::Progress;
use indicatif::ProgressBar;

/// Counts signs of life of a piece of work.
#[derive(Clone, Default)]
pub(super) struct Alive(Arc<AtomicU64>);

impl Alive {
    pub(super) fn sign(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A download's signs of life, and its progress on a terminal.
pub(super) struct Download {
    alive: Alive,
    bar: Option<ProgressBar>,
}

impl Download {
    pub(super) fn new(alive: &Alive) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self {
            alive: alive.clone(),
            bar: is_terminal.then(|| ProgressBar::new(0)),
        }
    }
}

impl Progress for Download {
    fn init(&mut self, size: usize, name: &str) {
        self.alive.sign();
        if let Some(bar) = &mut self.bar {
            bar.init(size, name);
        }
    }

    fn update(&mut self, size: usize) {
        self.alive.sign();
        if let Some(bar) = &mut self.bar {
            bar.update(size);
        }
    }

    fn finish(&mut self) {
        self.alive.sign();
        if let Some(bar) = &mut self.bar {
            Progress::finish(bar);
        }
    }
}

/// Does work in a thread of its own; `None` if it gives no sign of life for that long. `hf_hub` sets no timeouts and has no
/// way to set them, so the thread of a stalled connection stays until the connection or the process ends.
pub(super) fn watched<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce(&Alive) -> T + Send + 'static,
) -> Option<T> {
    let alive = Alive::default();
    let (sender, receiver) = mpsc::channel();
    let own = alive.clone();
    thread::spawn(move || {
        // The receiver may have given up.
        sender.send(work(&own)).ok();
    });
    let mut seen = 0;
    loop {
        match receiver.recv_timeout(patience) {
            Ok(result) => return Some(result),
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let signs = alive.0.load(Ordering::Relaxed);
                if signs == seen {
                    return None;
                }
                seen = signs;
            }
        }
    }
}
