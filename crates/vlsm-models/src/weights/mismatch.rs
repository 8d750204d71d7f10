//! How tensors and the parameters of a module differ.

/// The differences between some tensors and the parameters of a module.
#[derive(Debug, Default)]
pub struct StateDictMismatch {
    /// Parameters of the module that have no tensor.
    pub missing: Vec<String>,
    /// Tensors of another shape than the parameter: name, shape of the module, shape found.
    pub shape_mismatches: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors without a parameter.
    pub extra: Vec<String>,
}

impl StateDictMismatch {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.shape_mismatches.is_empty() && self.extra.is_empty()
    }

    /// Names the differences, the first few of each kind.
    pub fn describe(&self) -> String {
        const SHOWN: usize = 5;
        let list = |what: &str, names: Vec<String>| {
            let more = names.len().saturating_sub(SHOWN);
            let mut text = format!(
                "{what} {}",
                names.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ")
            );
            if more > 0 {
                text += &format!(" and {more} more");
            }
            text
        };
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            let names = self.missing.iter().map(|name| format!("`{name}`"));
            parts.push(list("missing", names.collect()));
        }
        if !self.shape_mismatches.is_empty() {
            let names = self.shape_mismatches.iter().map(|(name, wanted, found)| {
                format!("`{name}` (is {found:?}, the model has {wanted:?})")
            });
            parts.push(list("of another shape", names.collect()));
        }
        if !self.extra.is_empty() {
            let names = self.extra.iter().map(|name| format!("`{name}`"));
            parts.push(list("extra", names.collect()));
        }
        parts.join("; ")
    }
}
