//! Decoding and resizing ahead of the training step.
//!
//! Every file that the requests of a pass need is one job, in the order of first use. Worker threads take jobs within a
//! bounded distance of the consumer; the consumer waits for the two files of its next request and puts the example
//! together. A file is kept, resized, until its last use in the pass, so none is decoded twice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vlsm_image::{
    ClassMap, Mask, RgbImage, catch_panic, read_class_map, read_image, read_mask, read_size,
    resize_class_map, resize_image, resize_mask,
};

use crate::dataset::{Sample, Target};
use crate::error::{DataError, Result};
use crate::synth::DrawingId;

/// One use of a sample, with the prompt that was chosen for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index of the sample.
    pub sample: usize,
    /// The prompt.
    pub prompt: String,
}

/// A request, answered.
#[derive(Clone, Debug)]
pub struct Example {
    /// Index of the sample.
    pub sample: usize,
    /// The prompt.
    pub prompt: String,
    /// The image, squashed to `image_size` x `image_size`, if the loader decodes images. Requests for one image file
    /// share one allocation.
    pub image: Option<Arc<RgbImage>>,
    /// The mask of the sample's target at `mask_size` x `mask_size`, nearest neighbour.
    pub mask: Arc<Mask>,
    /// The mask of the sample's target at its own size, if the loader keeps it.
    pub original: Option<Arc<Mask>>,
    /// Of a sample of [`Target::Labels`] the class ids at the mask's own size, if the loader keeps it.
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
/// A request that fails gives its error at its place, and the pass goes on. Memory: at most `ahead` requests' files, plus
/// the resized files that requests further on share with earlier ones. Dropping the loader stops its threads.
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
    /// Told when a job is done.
    done: Condvar,
    /// Told when the consumer moves on or leaves.
    moved: Condvar,
    decodes: AtomicUsize,
}

struct State {
    results: Vec<Option<Result<Loaded>>>,
    next_job: usize,
    consumed: usize,
    stop: bool,
}

/// A file to decode and resize.
struct Job {
    path: PathBuf,
    kind: Kind,
    /// Index of the first request that uses it.
    first_use: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Image,
    Mask,
    ClassMap,
    /// No file, but a picture that is drawn, with all its masks.
    Drawing(DrawingId),
}

/// A decoded file: resized, and its own width and height.
#[derive(Clone)]
enum Loaded {
    Image {
        own: (usize, usize),
        resized: Option<Arc<RgbImage>>,
    },
    Mask {
        own: (usize, usize),
        resized: Arc<Mask>,
        original: Option<Arc<Mask>>,
    },
    ClassMap {
        own: (usize, usize),
        resized: Arc<ClassMap>,
        original: Option<Arc<ClassMap>>,
    },
    Drawing {
        image: Option<Arc<RgbImage>>,
        masks: Arc<[LoadedMask]>,
    },
}

/// A mask resized, and at its own size if that is kept.
type LoadedMask = (Arc<Mask>, Option<Arc<Mask>>);

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

    /// How many files were decoded so far.
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
        self.shared.assemble(sample, request, image?, mask?)
    }
}

/// The distinct files in order of first use, and for each request its image's and mask's place among them.
fn plan(samples: &[Sample], requests: &[Request]) -> (Vec<Job>, Vec<Option<[usize; 2]>>) {
    let mut jobs = Vec::new();
    let mut places: HashMap<(&Path, Kind), usize> = HashMap::new();
    let mut uses = Vec::with_capacity(requests.len());
    for (first_use, request) in requests.iter().enumerate() {
        let Some(sample) = samples.get(request.sample) else {
            uses.push(None);
            continue;
        };
        let (image_kind, mask_kind) = match sample.target {
            Target::Foreground => (Kind::Image, Kind::Mask),
            Target::Class(_) | Target::Labels => (Kind::Image, Kind::ClassMap),
            Target::Drawn(id, _) => (Kind::Drawing(id), Kind::Drawing(id)),
        };
        // A drawing is one job, whose name is the image's.
        let mask_path = match mask_kind {
            Kind::Drawing(_) => &sample.image,
            _ => &sample.mask,
        };
        uses.push(Some(
            [(&sample.image, image_kind), (mask_path, mask_kind)].map(|(path, kind)| {
                *places.entry((path, kind)).or_insert_with(|| {
                    jobs.push(Job {
                        path: path.clone(),
                        kind,
                        first_use,
                    });
                    jobs.len() - 1
                })
            }),
        ));
    }
    (jobs, uses)
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
        catch_panic(|| self.decode(job)).unwrap_or_else(|reason| {
            Err(DataError::Panic {
                name: job.path.display().to_string(),
                reason,
            })
        })
    }

    fn decode(&self, Job { path, kind, .. }: &Job) -> Result<Loaded> {
        let side = self.config.mask_size;
        let keep = self.config.keep_original;
        let resized = |image: &RgbImage| Arc::new(resize_image(image, self.config.image_size));
        Ok(match kind {
            Kind::Image if self.config.images => {
                let image = read_image(path)?;
                Loaded::Image {
                    own: (image.width, image.height),
                    resized: Some(resized(&image)),
                }
            }
            Kind::Image => Loaded::Image {
                own: read_size(path)?,
                resized: None,
            },
            Kind::Mask => {
                let mask = read_mask(path)?;
                let (own, resized) = (
                    (mask.width, mask.height),
                    Arc::new(resize_mask(&mask, side, side)),
                );
                Loaded::Mask {
                    own,
                    resized,
                    original: keep.then(|| Arc::new(mask)),
                }
            }
            Kind::ClassMap => {
                let map = read_class_map(path)?;
                let (own, resized) = (
                    (map.width, map.height),
                    Arc::new(resize_class_map(&map, side, side)),
                );
                Loaded::ClassMap {
                    own,
                    resized,
                    original: keep.then(|| Arc::new(map)),
                }
            }
            Kind::Drawing(id) => {
                let drawing = id.draw();
                let masks = drawing.referents.into_iter().map(|one| {
                    let resized = Arc::new(resize_mask(&one.mask, side, side));
                    (resized, keep.then(|| Arc::new(one.mask)))
                });
                Loaded::Drawing {
                    masks: masks.collect(),
                    image: self.config.images.then(|| resized(&drawing.image)),
                }
            }
        })
    }

    fn assemble(
        &self,
        sample: &Sample,
        request: Request,
        image: Loaded,
        mask: Loaded,
    ) -> Result<Example> {
        if let (Target::Drawn(_, number), Loaded::Drawing { image, masks }) =
            (sample.target, &image)
        {
            let (mask, original) = masks.get(number).cloned().ok_or_else(mixed_up)?;
            return Ok(Example {
                sample: request.sample,
                prompt: request.prompt,
                image: image.clone(),
                mask,
                original,
                labels: None,
            });
        }
        let of_class = |map: &Arc<ClassMap>| match sample.target {
            Target::Class(class) => Arc::new(map.mask_of(class, self.ignore)),
            Target::Labels => Arc::new(map.labelled(self.ignore)),
            Target::Foreground | Target::Drawn(..) => Arc::new(map.mask_of(1, self.ignore)),
        };
        let (mask_size, mask, original, labels) = match mask {
            Loaded::Mask {
                own,
                resized,
                original,
            } => (own, resized, original, None),
            Loaded::ClassMap {
                own,
                resized,
                original,
            } => {
                let whole = original.as_ref().map(of_class);
                let labels = original.filter(|_| sample.target == Target::Labels);
                (own, of_class(&resized), whole, labels)
            }
            Loaded::Image { .. } | Loaded::Drawing { .. } => return Err(mixed_up()),
        };
        let Loaded::Image {
            own: image_size,
            resized: image,
        } = image
        else {
            return Err(mixed_up());
        };
        if image_size != mask_size {
            let (image, mask) = (sample.image.clone(), sample.mask.clone());
            return Err(DataError::SizeMismatch {
                image,
                image_size,
                mask,
                mask_size,
            });
        }
        Ok(Example {
            sample: request.sample,
            prompt: request.prompt,
            image,
            mask,
            original,
            labels,
        })
    }
}

/// Never, unless [`plan`] is broken.
fn mixed_up() -> DataError {
    DataError::Shape {
        what: "loader",
        reason: "image and mask were mixed up".to_string(),
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
#[path = "loader_tests.rs"]
mod tests;
