//! Printing: results to standard output, errors and progress to standard error.

use std::io::{self, IsTerminal, Write};

use vlsm_train::text::columns;
pub(crate) use vlsm_train::text::thousands;

/// Prints to standard output. A reader that went away (`vlsm ... | head`) is an error, which
/// [`is_closed_pipe`] tells from others.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whether an error is only that nobody reads standard output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints an error with its causes.
pub(crate) fn print_error(error: &anyhow::Error) {
    note(&format!("error: {}", describe(error)));
}

/// Prints a line to standard error; that it may be closed is no reason to stop.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// An error with its causes, leaving out causes that the message above them tells already.
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

/// A counter on standard error, where that is a terminal.
pub(crate) struct Counter {
    what: &'static str,
    total: usize,
    shown: bool,
}

impl Counter {
    /// Counts `what` up to `total`.
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        Self {
            what,
            total,
            shown: io::stderr().is_terminal(),
        }
    }

    /// Shows that `done` are done.
    pub(crate) fn set(&self, done: usize) {
        self.set_of(done, self.total);
    }

    /// Shows that `done` of `total` are done, where the total comes to be known later.
    pub(crate) fn set_of(&self, done: usize, total: usize) {
        if self.shown {
            let _ = write!(io::stderr(), "\r{} {done}/{total}", self.what);
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Rows under a header, in columns: the first to the left, the others to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header = header.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header)
        .chain(rows.iter().cloned())
        .collect();
    columns(&lines, 1)
}

/// Names and values, one pair a line, the values in one column.
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
    fn causes_are_told_once() {
        let inner = || io::Error::other("disk full");
        let repeated = anyhow::Error::new(inner()).context("cannot write `x`: disk full");
        assert_eq!(describe(&repeated), "cannot write `x`: disk full");
        let added = Err::<(), _>(inner())
            .context("cannot write `x`")
            .unwrap_err();
        assert_eq!(describe(&added), "cannot write `x`: disk full");
    }
}
