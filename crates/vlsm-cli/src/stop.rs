//! Ctrl-C and termination: a training stops after its current step, with everything saved.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use vlsm_train::TrainError;

use crate::output::note;

/// The usual exit status of a process that an interrupt ended.
const INTERRUPTED: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on, the first Ctrl-C, SIGTERM or hang-up only requests a stop; the second ends the process at once.
pub(crate) fn watch() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        note("stopping after this step; press Ctrl-C again to quit at once, which loses the steps since the last checkpoint");
    })
    .context("cannot watch for Ctrl-C")
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
