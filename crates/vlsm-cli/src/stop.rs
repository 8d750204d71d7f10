//! Ctrl-C and termination: a training stops after its current step, with everything saved.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use vlsm_train::TrainError;

use crate::output::note;

/// The usual exit status of a process that an interrupt ended.
const INTERRUPTED: u8 = 130;

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on, the first Ctrl-C or SIGTERM only requests a stop; the second ends the process at once.
pub(crate) fn watch() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal finds the flag down.
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), REQUESTED.clone())
            .and_then(|_| flag::register(signal, REQUESTED.clone()))
            .context("cannot watch for Ctrl-C")?;
    }
    Ok(())
}

/// Whether to go on.
pub(crate) fn flow() -> ControlFlow<()> {
    match REQUESTED.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// The result of something that can be stopped. If it was, says how to continue.
pub(crate) fn unless_stopped<T>(
    result: vlsm_train::Result<T>,
    go_on: &str,
) -> Result<std::result::Result<T, ExitCode>> {
    match result {
        Err(TrainError::Stopped) => {
            note(&format!("stopped; {go_on}"));
            Ok(Err(INTERRUPTED.into()))
        }
        result => Ok(Ok(result?)),
    }
}

/// The command of this process, for a shell, with `more` added unless it is there.
pub(crate) fn command_with(more: &str) -> String {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let mut words = vec!["vlsm"];
    words.extend(arguments.iter().map(String::as_str));
    if !more.is_empty() && !words.contains(&more) {
        words.push(more);
    }
    // Only an argument with a null byte cannot be quoted, and no process can have one.
    shlex::try_join(words).unwrap_or_default()
}
