//! Decodes and resizes samples ahead of the training step.
//!
//! Each image and each mask that a pass needs is one job, in the order of first use. Worker threads take jobs within a
//! bounded distance of the consumer. The consumer waits for the two jobs of its next request and assembles the example.
//! A resized result is kept until its last use in the pass, so nothing is decoded twice, unless the results that later
//! requests share would need more memory than allowed. Then those that are used last are dropped and decoded again. This
//! changes neither the order of the examples nor their pixels. A request with a transform is a job of its own.

mod load;
mod plan;
mod results;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vlsm_image::{ClassMap, Fit, Mask, RgbImage, catch_panic};

use crate::augment::Transform;
use crate::error::{DataError, Result};
use crate::sample::Sample;
use load::Loaded;
use plan::{Job, plan};
use results::Results;

/// One use of a sample, with the prompt that was chosen for it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// Index of the sample.
    pub sample: usize,
    /// The prompt.
    pub prompt: String,
    /// What happens to image and mask, if anything.
    pub transform: Option<Transform>,
}

impl Request {
    /// A sample as it is.
    pub fn new(sample: usize, prompt: impl Into<String>) -> Self {
        Self {
            sample,
            prompt: prompt.into(),
            transform: None,
        }
    }

    /// The same sample, changed.
    #[must_use]
    pub fn with_transform(self, transform: Transform) -> Self {
        Self {
            transform: Some(transform),
            ..self
        }
    }
}

/// A request with its pixels.
#[derive(Clone, Debug)]
pub struct Example {
    /// Index of the sample.
    pub sample: usize,
    /// The prompt.
    pub prompt: String,
    /// What happened to image and mask, if anything. The next two are then those of this example alone, and there is no original.
    pub transform: Option<Transform>,
    /// The image, resized to `image_size` x `image_size`, if the loader decodes images.
    /// Requests for the same image share one allocation.
    pub image: Option<Arc<RgbImage>>,
    /// The target's mask at `mask_size` x `mask_size`, by nearest neighbour.
    pub mask: Arc<Mask>,
    /// The target's mask at its original size, if the loader keeps it.
    pub original: Option<Arc<Mask>>,
    /// For a sample of [`Target::Labels`](crate::Target::Labels) the class ids at their original size, if the loader keeps
    /// them.
    pub labels: Option<Arc<ClassMap>>,
}

/// Settings of a [`Loader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Side of the square that images are resized to, in pixels.
    pub image_size: usize,
    /// Side of the square that masks are resized to, in pixels.
    pub mask_size: usize,
    /// How images of other shapes become squares.
    pub fit: Fit,
    /// Threads that decode and resize; with 0 the consumer does it.
    pub workers: usize,
    /// Number of requests after the current one that workers may prefetch.
    pub ahead: usize,
    /// Whether images are decoded. If not, only their size is read; it must equal the mask's.
    pub images: bool,
    /// Whether examples contain the mask at its original size.
    pub keep_original: bool,
    /// Memory for images and masks that later requests share, in bytes. Those of the next `ahead` requests are kept in any
    /// case.
    pub memory: usize,
}

impl Default for LoaderConfig {
    /// 352 x 352 pixels, CLIPSeg's input size; two workers; 16 requests ahead; 512 MiB.
    fn default() -> Self {
        Self {
            image_size: 352,
            mask_size: 352,
            fit: Fit::Stretch,
            workers: 2,
            ahead: 16,
            images: true,
            keep_original: false,
            memory: 512 << 20,
        }
    }
}

/// Iterates over the examples of a pass of requests, in their order.
///
/// A request that fails yields its error at its position, and the pass continues. In memory are the images and masks of
/// at most `ahead` requests, plus up to `memory` bytes of those that later requests share. Dropping the loader stops its
/// threads.
pub struct Loader {
    shared: Arc<Shared>,
    requests: std::vec::IntoIter<Request>,
    next: usize,
    threads: Vec<JoinHandle<()>>,
}

/// State that the threads and the consumer share.
struct Shared {
    samples: Arc<[Sample]>,
    ignore: Option<u8>,
    config: LoaderConfig,
    jobs: Vec<Job>,
    /// The two jobs of each request, or `None` if the sample does not exist.
    uses: Vec<Option<[usize; 2]>>,
    state: Mutex<State>,
    /// Notified when a job is done.
    done: Condvar,
    /// Notified when the consumer advances or drops the loader.
    moved: Condvar,
    decodes: AtomicUsize,
}

struct State {
    results: Results,
    /// The request that a worker looks at next.
    next: usize,
    consumed: usize,
    stop: bool,
}

impl Loader {
    /// Starts to load `requests` for `samples`. `ignore` is [`Dataset::ignore`](crate::Dataset::ignore).
    pub fn new(
        samples: Arc<[Sample]>,
        ignore: Option<u8>,
        requests: Vec<Request>,
        config: LoaderConfig,
    ) -> Self {
        let (jobs, uses) = plan(&samples, &requests);
        let workers = config.workers.min(jobs.len());
        let state = Mutex::new(State {
            results: Results::new(jobs.len(), &uses, config.memory),
            next: 0,
            consumed: 0,
            stop: false,
        });
        let (done, moved, decodes) = (Condvar::new(), Condvar::new(), AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            samples,
            ignore,
            config,
            jobs,
            uses,
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
        // If the system refuses threads, the consumer decodes.
        let threads = (0..workers).filter_map(start).collect();
        Self {
            shared,
            requests: requests.into_iter(),
            next: 0,
            threads,
        }
    }

    /// Number of images and masks read so far.
    pub fn decodes(&self) -> usize {
        self.shared.decodes.load(Ordering::Relaxed)
    }

    /// The most bytes of images and masks that were kept at a time.
    pub fn peak_bytes(&self) -> usize {
        self.shared.lock().results.peak()
    }

    /// The result of a job of the current request.
    fn take(&mut self, job: usize) -> Result<Loaded> {
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.results.take(job) {
                return result;
            }
            let request = state.consumed;
            if self.threads.is_empty() && state.results.begin(job, request) {
                drop(state);
                let result = self.shared.load(job);
                state = self.shared.lock();
                state.results.finish(job, result, request);
            } else {
                let done = &self.shared.done;
                state = done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn answer(&mut self, index: usize, request: Request) -> Result<Example> {
        let samples = self.shared.samples.len();
        let Some([image, mask]) = self.shared.uses[index] else {
            return Err(DataError::Request {
                sample: request.sample,
                samples,
            });
        };
        // Both are taken before either is checked; otherwise an error in one would keep the other in memory.
        let (image, mask) = (self.take(image), self.take(mask));
        let sample = &self.shared.samples[request.sample];
        let (image, mask) = (image?, mask?);
        if request.transform.is_some() {
            return load::transformed(request, &image);
        }
        load::assemble(
            sample,
            &self.shared.config,
            self.shared.ignore,
            request,
            &image,
            &mask,
        )
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; even then the state would be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of a worker thread. It stays at most `ahead` requests ahead of the consumer.
    fn work(&self) {
        let mut state = self.lock();
        while !state.stop && state.next < self.uses.len() {
            let request = state.next;
            if request > state.consumed + self.config.ahead {
                state = self
                    .moved
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let jobs = self.uses[request].iter().flatten();
            let must_load = |&&job: &&usize| state.results.begin(job, request);
            let Some(&job) = jobs.into_iter().find(must_load) else {
                // Both are loaded, or other threads load them.
                state.next += 1;
                continue;
            };
            drop(state);
            let result = self.load(job);
            state = self.lock();
            // What requests before `next` need is not dropped, since no worker looks at them again.
            let horizon = state.next;
            state.results.finish(job, result, horizon);
            self.done.notify_all();
        }
    }

    fn load(&self, job: usize) -> Result<Loaded> {
        let job = &self.jobs[job];
        self.decodes.fetch_add(1, Ordering::Relaxed);
        // A source may be the user's code. If it panicked on a worker, the consumer would wait forever.
        catch_panic(|| load::load(job, &self.config, self.ignore))
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
