//! The published reading of a language model's answers.

/// Why an answer names no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoIndex {
    /// It has no digits.
    NoDigits,
    /// Its first number is not that of a candidate.
    OutOfRange,
}

/// The index in an answer: its first run of digits, if it is below the number of candidates. A sign or a decimal point is no part
/// of it, and digits other than 0 to 9 are none.
///
/// # Errors
/// If there is no such index.
pub fn read_index(answer: &str, candidates: usize) -> Result<usize, NoIndex> {
    let digit = |c: char| c.is_ascii_digit();
    let start = answer.find(digit).ok_or(NoIndex::NoDigits)?;
    let rest = &answer[start..];
    let digits = &rest[..rest.find(|c| !digit(c)).unwrap_or(rest.len())];
    // A number too large for usize is out of range too.
    let index = digits.parse().ok().filter(|index| *index < candidates);
    index.ok_or(NoIndex::OutOfRange)
}
