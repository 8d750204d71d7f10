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
fn watch() -> Result<()> {
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

/// Does work that an observer stops when [`flow`] says so. If it was stopped, says how to continue: with the command of this
/// process and `more`, unless that is there. Returns the exit code then.
pub(crate) fn stoppable<T>(
    more: Option<&str>,
    work: impl FnOnce() -> vlsm_train::Result<T>,
) -> Result<std::result::Result<T, ExitCode>> {
    watch()?;
    match work() {
        Err(TrainError::Stopped) => {
            note(&format!("stopped; continue with\n  {}", command_with(more)));
            Ok(Err(INTERRUPTED.into()))
        }
        result => Ok(Ok(result?)),
    }
}

/// The command of this process, for a shell, with `more` added unless it is there.
fn command_with(more: Option<&str>) -> String {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let mut words = vec!["vlsm"];
    words.extend(arguments.iter().map(String::as_str));
    words.extend(more.filter(|more| !arguments.iter().any(|argument| argument == more)));
    // Only an argument with a null byte cannot be quoted, and no process can have one.
    shlex::try_join(words).unwrap_or_default()
}
