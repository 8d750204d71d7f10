//! The allocator of programs that compute with tensors.

use libmimalloc_sys::{mi_collect, mi_option_set};
pub use mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mi_option_t`, which the bindings do not name.
const PURGE_DELAY: i32 = 15;

/// Sets up [`MiMalloc`], where it is the global allocator, for tensors, which come and go by the megabyte. To be called first
/// thing in `main`.
///
/// Freed memory is kept for a minute before the system gets it back: memory that is given back and asked for again must be
/// cleared by the kernel each time, which took a quarter of a small model's training step. Pages are of ordinary size: huge
/// ones, which the allocator asks Linux for, round each tensor up to 2 MB, a sixth of a full-size base, and a base took twice
/// as long to load (2.3 s against 1.2 s to a first mask), while a training step was no faster for them.
pub fn set_up() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets a flag of this process; takes numbers alone. A kernel that does not know it says so and does nothing.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
    const MILLISECONDS: std::ffi::c_long = 60_000;
    // SAFETY: the function stores a number under an option's number, which is checked there, and may be called at any
    // time from any thread.
    #[allow(unsafe_code)]
    unsafe {
        mi_option_set(PURGE_DELAY, MILLISECONDS);
    }
}

/// Gives freed memory back to the system at once, where [`MiMalloc`] is the global allocator: behind work that is done once,
/// such as loading a model, and leaves pieces that nothing later fits into.
pub fn release_freed_memory() {
    // SAFETY: walks the allocator's own lists; may be called at any time from any thread, also when nothing has been allocated.
    #[allow(unsafe_code)]
    unsafe {
        mi_collect(true);
    }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_one_meant() {
        // SAFETY: reads a number.
        let get = || unsafe { mi_option_get(PURGE_DELAY) };
        // The default of this option alone (mimalloc's documentation).
        assert!([10, 1000].contains(&get()), "{}", get());
        set_up();
        assert_eq!(get(), 60_000);
    }
}
