//! Decoding and resizing ahead of the training step.
//!
//! Every image and every mask that the requests of a pass need is one job, in the order of first use. Worker threads
//! take jobs within a bounded distance of the consumer; the consumer waits for the two jobs of its next request and puts
//! the example together. A result is kept, resized, until its last use in the pass, so nothing is decoded twice.

mod load;
mod plan;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vlsm_image::{ClassMap, Mask, RgbImage, catch_panic};

use crate::error::{DataError, Result};
use crate::sample::Sample;
use load::Loaded;
use plan::{Job, plan};

/// One use of a sample, with the prompt that was chosen for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index of the sample.
    pub sample: usize,
    /// The prompt.
    pub prompt: String,
}

/// A request with its pixels.
#[derive(Clone, Debug)]
pub struct Example {
    /// Index of the sample.
    pub sample: usize,
    /// The prompt.
    pub prompt: String,
    /// The image, squashed to `image_size` x `image_size`, if the loader decodes images. Requests for one image share one
    /// allocation.
    pub image: Option<Arc<RgbImage>>,
    /// The mask of the sample's target at `mask_size` x `mask_size`, nearest neighbour.
    pub mask: Arc<Mask>,
    /// The mask of the sample's target at its own size, if the loader keeps it.
    pub original: Option<Arc<Mask>>,
    /// For a sample of [`Target::Labels`](crate::Target::Labels) the class ids at the mask's own size, if the loader keeps it.
    pub labels: Option<Arc<ClassMap>>,
}

/// How a [`Loader`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Side of the square that images are squashed to.
    pub image_size: usize,
    /// Side of the square that masks are resized to.
    pub mask_size: usize,
    /// Threads that decode and resize; with 0 the thread that asks does it.
    pub workers: usize,
    /// How many requests beyond the one that is asked for may be worked on ahead.
    pub ahead: usize,
    /// Whether images are decoded. If not, no more is read of them than their size, which must be the mask's.
    pub images: bool,
    /// Whether examples carry the mask at its own size.
    pub keep_original: bool,
}

impl Default for LoaderConfig {
    /// 352 x 352 as CLIPSeg takes it, two workers, 16 requests ahead.
    fn default() -> Self {
        Self {
            image_size: 352,
            mask_size: 352,
            workers: 2,
            ahead: 16,
            images: true,
            keep_original: false,
        }
    }
}

/// An iterator over the answers to a pass of requests, in their order.
///
/// A request that fails gives its error in its turn, and the pass goes on. Memory: images and masks of at most `ahead`
/// requests, plus those, resized, that later requests share with earlier ones. Dropping the loader stops its threads.
pub struct Loader {
    shared: Arc<Shared>,
    requests: std::vec::IntoIter<Request>,
    /// For each request its two jobs, or `None` if there is no such sample.
    uses: Vec<Option<[usize; 2]>>,
    /// How often each job's result is still to be used.
    remaining: Vec<usize>,
    next: usize,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads and the consumer share.
struct Shared {
    samples: Arc<[Sample]>,
    ignore: Option<u8>,
    config: LoaderConfig,
    jobs: Vec<Job>,
    state: Mutex<State>,
    /// Notified when a job is done.
    done: Condvar,
    /// Notified when the consumer moves on or leaves.
    moved: Condvar,
    decodes: AtomicUsize,
}

struct State {
    results: Vec<Option<Result<Loaded>>>,
    next_job: usize,
    consumed: usize,
    stop: bool,
}

impl Loader {
    /// Starts on `requests` for `samples`. `ignore` is [`Dataset::ignore`](crate::Dataset).
    pub fn new(
        samples: Arc<[Sample]>,
        ignore: Option<u8>,
        requests: Vec<Request>,
        config: LoaderConfig,
    ) -> Self {
        let (jobs, uses) = plan(&samples, &requests);
        let mut remaining = vec![0; jobs.len()];
        for &job in uses.iter().flatten().flatten() {
            remaining[job] += 1;
        }
        let workers = config.workers.min(jobs.len());
        let results = jobs.iter().map(|_| None).collect();
        let state = Mutex::new(State {
            results,
            next_job: 0,
            consumed: 0,
            stop: false,
        });
        let (done, moved, decodes) = (Condvar::new(), Condvar::new(), AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            samples,
            ignore,
            config,
            jobs,
            state,
            done,
            moved,
            decodes,
        });
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("vlsm-data-{number}"))
                .spawn(move || shared.work())
                .ok()
        };
        // Where the system refuses threads, the consumer decodes.
        let threads = (0..workers).filter_map(start).collect();
        Self {
            shared,
            requests: requests.into_iter(),
            uses,
            remaining,
            next: 0,
            threads,
        }
    }

    /// How many images and masks were read so far.
    pub fn decodes(&self) -> usize {
        self.shared.decodes.load(Ordering::Relaxed)
    }

    /// The result of a job; it is dropped here after its last use.
    fn take(&mut self, job: usize) -> Result<Loaded> {
        let mut state = self.shared.lock();
        if self.threads.is_empty() && state.results[job].is_none() {
            drop(state);
            let result = self.shared.load(job);
            state = self.shared.lock();
            state.results[job] = Some(result);
        }
        while state.results[job].is_none() {
            state = self
                .shared
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.remaining[job] -= 1;
        let kept = if self.remaining[job] == 0 {
            state.results[job].take()
        } else {
            state.results[job].clone()
        };
        kept.unwrap_or_else(|| {
            Err(DataError::Shape {
                what: "loader",
                reason: "a result was used twice".to_string(),
            })
        })
    }

    fn answer(&mut self, index: usize, request: Request) -> Result<Example> {
        let samples = self.shared.samples.len();
        let Some([image, mask]) = self.uses[index] else {
            return Err(DataError::Request {
                sample: request.sample,
                samples,
            });
        };
        // Both are taken before either is looked at, so that a fault of one does not keep the other for ever.
        let (image, mask) = (self.take(image), self.take(mask));
        let sample = &self.shared.samples[request.sample];
        let (image, mask) = (image?, mask?);
        load::assemble(sample, self.shared.ignore, request, &image, &mask)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and if it did the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker thread: job after job, no further ahead of the consumer than allowed.
    fn work(&self) {
        let mut state = self.lock();
        while !state.stop && state.next_job < self.jobs.len() {
            let job = state.next_job;
            if self.jobs[job].first_use > state.consumed + self.config.ahead {
                state = self
                    .moved
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.next_job += 1;
            drop(state);
            let result = self.load(job);
            state = self.lock();
            state.results[job] = Some(result);
            self.done.notify_all();
        }
    }

    fn load(&self, job: usize) -> Result<Loaded> {
        let job = &self.jobs[job];
        self.decodes.fetch_add(1, Ordering::Relaxed);
        // Sources are other people's code, and a thread that panics would leave the consumer waiting.
        catch_panic(|| load::load(job, &self.config))
            .unwrap_or_else(|reason| Err(DataError::source(job.id.as_str(), reason)))
    }
}

impl Iterator for Loader {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        let request = self.requests.next()?;
        let index = self.next;
        self.next += 1;
        self.shared.lock().consumed = index;
        self.shared.moved.notify_all();
        Some(self.answer(index, request))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.requests.size_hint()
    }
}

impl ExactSizeIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.moved.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches its own panics.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
