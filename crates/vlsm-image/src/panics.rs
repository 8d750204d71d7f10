//! Panics of other people's code as values.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; a panic becomes an error with the panic's message.
///
/// For decoders and other code that runs on files of unknown origin.
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
