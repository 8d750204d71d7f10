//! Whether adapters and methods go with a base.

use crate::adapter_file::{AdapterFile, digest};
use crate::base::Base;
use crate::error::{ModelError, Result};
use crate::methods::{MethodConfig, Profile};

impl Base {
    /// Checks that an adapter file belongs to the base.
    ///
    /// # Errors
    /// If the file names another base, or holds other pretrained weights than the base.
    pub fn check(&self, adapter: &AdapterFile) -> Result<()> {
        adapter.check_base(&self.identity)?;
        if adapter.pretrained.is_empty() {
            return Ok(());
        }
        self.expect_f32("comparing the pretrained tensors of a whole model")?;
        let own = self.published(Profile::Paper);
        let pretrained = adapter.pretrained.iter();
        let mut differing = pretrained
            .filter(|(name, found)| own.get(*name).map(digest).as_ref() != Some(*found))
            .map(|(name, _)| name);
        let Some(first) = differing.next() else {
            return Ok(());
        };
        Err(ModelError::Adapter {
            path: adapter.path.clone(),
            message: format!(
                "is a whole model, and {} of its {} pretrained tensors are not those of base `{}` (the first is `{first}`), \
                 so its decoder alone would give wrong masks; use the base it was trained from or, if all of it was \
                 trained, put the file into a folder with its `config.json` and name the folder as --base",
                1 + differing.count(),
                adapter.pretrained.len(),
                self.identity.name,
            ),
        })
    }

    /// Checks that a method does not build on a random decoder.
    pub(crate) fn check_method(&self, method: &MethodConfig) -> Result<()> {
        let Some(part) = self.network.random_part() else {
            return Ok(());
        };
        if method.trains_decoder() {
            return Ok(());
        }
        let decoder = match self.network.architecture().composes() {
            true => format!(" (`{}+CIDAS/clipseg-rd64-refined`)", self.identity.name),
            false => String::new(),
        };
        Err(ModelError::Method(format!(
            "base `{}` has no {part} of its own, so it is random, and {} would leave it so; train it too (`kind = \
             \"decoder\"` or \"full\", or `train_decoder = true`) or use a base with a {part}{decoder}",
            self.identity.name,
            method.label(),
        )))
    }

    /// Warns if masks would be those of random weights.
    pub fn warn_of_random_part(&self) {
        if let Some(part) = self.network.random_part() {
            tracing::warn!(
                "base `{}` has no {part} of its own: it is random, and so are its masks; train it, or use a base with a \
                 {part}",
                self.identity.name
            );
        }
    }
}
