//! Names with a number where two would be equal.

use std::collections::HashMap;

/// Gives out names: `name`, then `name-2`, `name-3`, ..., in time that does not depend on how many were given out.
#[derive(Clone, Debug, Default)]
pub struct UniqueNames {
    /// For each name given out, the number to try next.
    next: HashMap<String, usize>,
    ignore_case: bool,
}

impl UniqueNames {
    /// Names of files: those that differ only in case count as equal, as they do on some file systems.
    pub fn of_files() -> Self {
        Self {
            ignore_case: true,
            ..Self::default()
        }
    }

    /// `name`, or the first of `name-2`, `name-3`, ... that was not given out.
    pub fn take(&mut self, name: String) -> String {
        let key = self.key(&name);
        let Some(mut number) = self.next.get(&key).copied() else {
            self.next.insert(key, 2);
            return name;
        };
        let free = loop {
            let candidate = format!("{name}-{number}");
            number += 1;
            if !self.next.contains_key(&self.key(&candidate)) {
                break candidate;
            }
        };
        self.next.insert(key, number);
        self.next.insert(self.key(&free), 2);
        free
    }

    fn key(&self, name: &str) -> String {
        match self.ignore_case {
            true => name.to_lowercase(),
            false => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_counts_unless_they_are_names_of_files() {
        let given =
            |mut names: UniqueNames| ["a", "A", "a-2", "a"].map(|name| names.take(name.to_owned()));
        assert_eq!(given(UniqueNames::default()), ["a", "A", "a-2", "a-3"]);
        assert_eq!(given(UniqueNames::of_files()), ["a", "A-2", "a-2-2", "a-3"]);
    }
}
