//! Converts panics into errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` and converts a panic into an error with the panic's message.
///
/// For decoders, which run on untrusted files, and for users' code.
///
/// # Errors
/// If `work` panics.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "it panicked".to_string())
    })
}
