//! The threads of tensor operations.

/// Runs tensor operations on a thread of rayon's pool and waits for them. From any other thread each parallel operation would wake
/// the pool, sleep, and be woken at its end, which takes up to a tenth of the time of one image.
///
/// `work` must not wait for another thread that uses the pool.
pub fn on_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}
