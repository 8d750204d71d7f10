//! The results of a pass's jobs, kept for later requests up to a number of bytes.

use std::collections::BTreeSet;

use super::load::Loaded;
use crate::error::Result;

/// The results of all jobs.
pub(super) struct Results {
    jobs: Vec<Job>,
    /// Next use and job of each result that is kept.
    kept: BTreeSet<(usize, usize)>,
    bytes: usize,
    /// The most bytes that were kept at a time.
    peak: usize,
    budget: usize,
}

/// A job's result.
struct Job {
    /// The requests that use it, in order, and how many of them are done.
    uses: Vec<usize>,
    done: usize,
    state: State,
}

enum State {
    /// Not loaded, or dropped to stay within the budget.
    Absent,
    /// A thread loads it.
    Loading,
    Ready(Result<Loaded>),
}

impl Results {
    /// `uses` are the jobs of each request, or `None` if its sample does not exist.
    pub(super) fn new(jobs: usize, uses: &[Option<[usize; 2]>], budget: usize) -> Self {
        let job = || Job {
            uses: Vec::new(),
            done: 0,
            state: State::Absent,
        };
        let mut jobs: Vec<Job> = std::iter::repeat_with(job).take(jobs).collect();
        for (request, uses) in uses.iter().enumerate() {
            for &job in uses.iter().flatten() {
                jobs[job].uses.push(request);
            }
        }
        Self {
            jobs,
            kept: BTreeSet::new(),
            bytes: 0,
            peak: 0,
            budget,
        }
    }

    /// Whether the caller must load the job for a request. If so, others see that it is being loaded.
    pub(super) fn begin(&mut self, job: usize, request: usize) -> bool {
        let job = &mut self.jobs[job];
        // The consumer may have overtaken a worker, so that the request has its result already.
        let is_needed = job.next_use().is_some_and(|next| next <= request);
        let must_load = is_needed && matches!(job.state, State::Absent);
        if must_load {
            job.state = State::Loading;
        }
        must_load
    }

    /// Keeps a result. Those that are used last, after request `horizon`, are dropped to stay within the budget.
    pub(super) fn finish(&mut self, job: usize, result: Result<Loaded>, horizon: usize) {
        let Some(next) = self.jobs[job].next_use() else {
            return;
        };
        self.bytes += bytes(&result);
        self.jobs[job].state = State::Ready(result);
        self.kept.insert((next, job));
        while self.bytes > self.budget
            && let Some(&(next, job)) = self.kept.last()
            && next > horizon
        {
            self.kept.remove(&(next, job));
            self.drop_result(job);
        }
        self.peak = self.peak.max(self.bytes);
    }

    /// A job's result for the next request that uses it; `None` until it is loaded.
    pub(super) fn take(&mut self, job: usize) -> Option<Result<Loaded>> {
        let State::Ready(result) = &self.jobs[job].state else {
            return None;
        };
        let result = result.clone();
        if let Some(used) = self.jobs[job].next_use() {
            self.kept.remove(&(used, job));
        }
        self.jobs[job].done += 1;
        match self.jobs[job].next_use() {
            Some(next) => drop(self.kept.insert((next, job))),
            None => self.drop_result(job),
        }
        Some(result)
    }

    /// The most bytes that were kept at a time.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    fn drop_result(&mut self, job: usize) {
        if let State::Ready(result) = std::mem::replace(&mut self.jobs[job].state, State::Absent) {
            self.bytes -= bytes(&result);
        }
    }
}

impl Job {
    fn next_use(&self) -> Option<usize> {
        self.uses.get(self.done).copied()
    }
}

fn bytes(result: &Result<Loaded>) -> usize {
    result.as_ref().map_or(0, Loaded::bytes)
}
