//! Printing: results to standard output, errors and progress to standard error.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use vlsm_train::text::columns;
pub(crate) use vlsm_train::text::thousands;

/// Options of every command come after its own in its help.
const LAST: usize = 900;

/// How much is printed to standard error.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Verbosity {
    /// Print no progress and no notes; results, warnings and errors remain.
    #[arg(short, long, global = true, display_order = LAST)]
    quiet: bool,
    /// Print what the libraries do as well.
    #[arg(short, long, global = true, conflicts_with = "quiet", display_order = LAST)]
    verbose: bool,
}

static QUIET: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);

impl Verbosity {
    /// Sets it for the whole program.
    pub(crate) fn set(self) {
        QUIET.store(self.quiet, Ordering::Relaxed);
        VERBOSE.store(self.verbose, Ordering::Relaxed);
    }
}

/// Whether progress and notes are left out.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Whether the libraries' messages are shown.
pub(crate) fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Prints to standard output. If the reader has closed the pipe (`vlsm ... | head`), returns an error that
/// [`is_closed_pipe`] recognises.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whether an error only means that the reader of standard output has closed the pipe.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Does not print panics that a library catches and returns as errors, such as those of a decoder on a damaged file.
pub(crate) fn hide_caught_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !vlsm_image::panic_is_caught() {
            print(panic);
        }
    }));
}

/// A text from a file, with control characters such as line breaks and escapes written out.
pub(crate) fn printable(text: &str) -> String {
    let escaped = |c: char| -> String {
        match c.is_control() {
            true => c.escape_default().collect(),
            false => c.into(),
        }
    };
    text.chars().map(escaped).collect()
}

/// Prints an error with its causes.
pub(crate) fn print_error(error: &anyhow::Error) {
    note(&format!("error: {}", describe(error)));
}

/// Prints a line to standard error that `--quiet` leaves out.
pub(crate) fn notice(text: &str) {
    if !is_quiet() {
        note(text);
    }
}

/// Prints a line to standard error. Ignores a closed standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// An error followed by its causes. Skips a cause whose text the message already contains.
fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// A progress bar on standard error, shown only if that is a terminal; cleared when it is dropped.
pub(crate) fn progress_bar(what: &'static str, total: usize) -> ProgressBar {
    if is_quiet() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total as u64).with_finish(ProgressFinish::AndClear);
    let bar = bar.with_message(what);
    // The template is a constant. If it were wrong, the default style would be used.
    match ProgressStyle::with_template("{msg} {bar:20} {pos}/{len} [{eta} left]") {
        Ok(style) => bar.with_style(style.progress_chars("━━─")),
        Err(_) => bar,
    }
}

/// Shows the progress of an evaluation on a bar, and never stops it.
pub(crate) fn advance(bar: &ProgressBar) -> impl FnMut(usize) -> ControlFlow<()> {
    |done| {
        bar.set_position(done as u64);
        ControlFlow::Continue(())
    }
}

/// A header and rows in columns. The first column is aligned left, the others right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header = header.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header)
        .chain(rows.iter().cloned())
        .collect();
    columns(&lines, 1)
}

/// Names and values, one pair per line, with the values in one column.
pub(crate) fn key_value_table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:<width$}  {value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_not_repeated() {
        let inner = || io::Error::other("disk full");
        let repeated = anyhow::Error::new(inner()).context("cannot write `x`: disk full");
        assert_eq!(describe(&repeated), "cannot write `x`: disk full");
        let added = Err::<(), _>(inner())
            .context("cannot write `x`")
            .unwrap_err();
        assert_eq!(describe(&added), "cannot write `x`: disk full");
    }

    #[test]
    fn values_are_aligned() {
        let rows = [("n", "1".to_owned()), ("name", "x".to_owned())];
        assert_eq!(key_value_table(&rows), "n     1\nname  x\n");
    }
}
