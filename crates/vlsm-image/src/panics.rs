//! Converts panics into errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether [`catch_panic`] runs on this thread.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` and converts a panic into an error with the panic's message.
///
/// For decoders, which run on untrusted files, and for users' code.
///
/// # Errors
/// If `work` panics.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    let outer = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "it panicked".to_string())
    })
}

/// Whether a panic on this thread would be caught by [`catch_panic`] and reported as an error. A program's panic hook can
/// leave such panics out.
pub fn panic_is_caught() -> bool {
    CATCHING.get()
}
