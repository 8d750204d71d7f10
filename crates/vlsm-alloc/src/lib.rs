//! The allocator for programs that compute with tensors: mimalloc, configured for frequent large allocations.
//!
//! For binaries only. A library leaves the choice of an allocator to the program that uses it.
//!
//! ```
//! use vlsm_alloc::MiMalloc;
//!
//! #[global_allocator]
//! static ALLOCATOR: MiMalloc = MiMalloc;
//!
//! fn main() {
//!     vlsm_alloc::set_up();
//! }
//! ```

use libmimalloc_sys::{mi_collect, mi_option_set};
pub use mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mi_option_t`, which the bindings do not name.
const PURGE_DELAY: i32 = 15;

/// Sets up [`MiMalloc`] as the global allocator. Call it first in `main`.
///
/// Freed memory is kept for a minute before it is returned to the system: the kernel must clear memory that is returned and
/// requested again, which took a quarter of a small model's training step. Transparent huge pages are off: the allocator asks
/// Linux for them, and they round each tensor up to 2 MB, a sixth of a full-size base. With them a base took twice as long to
/// load (2.3 s against 1.2 s to a first mask), and a training step was no faster.
pub fn set_up() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets a flag of this process and takes only numbers. Kernels without the flag return an error and change nothing.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
    const MILLISECONDS: std::ffi::c_long = 60_000;
    // SAFETY: sets an option after checking its index; may be called at any time from any thread.
    #[allow(unsafe_code)]
    unsafe {
        mi_option_set(PURGE_DELAY, MILLISECONDS);
    }
}

/// Returns freed memory to the system at once. Call it after work that is done once, such as loading a model, which leaves
/// free blocks that nothing later fits into.
pub fn release_freed_memory() {
    // SAFETY: walks the allocator's own lists; may be called at any time from any thread, also before the first allocation.
    #[allow(unsafe_code)]
    unsafe {
        mi_collect(true);
    }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    /// [`PURGE_DELAY`] is the right option: no other option has one of these defaults.
    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_purge_delay() {
        // SAFETY: reads a number.
        let get = || unsafe { mi_option_get(PURGE_DELAY) };
        // The defaults in the documentation of mimalloc 2 and 3.
        assert!([10, 1000].contains(&get()), "{}", get());
        set_up();
        assert_eq!(get(), 60_000);
    }
}
