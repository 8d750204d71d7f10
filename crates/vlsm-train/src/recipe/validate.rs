//! Checks of a recipe's values.

use super::Recipe;

/// TOML has no integers above this.
const GREATEST: u64 = i64::MAX as u64;

impl Recipe {
    /// Checks the values that can be checked without reading a file. [`parse`](Self::parse) calls this; a recipe built in code is
    /// checked when it is trained.
    ///
    /// # Errors
    /// A message that names the key and the fix.
    pub fn validate(&self) -> std::result::Result<(), String> {
        if self.model.base.is_empty() {
            return Err("`model.base` is not set; give a folder or a name such as \
                 \"CIDAS/clipseg-rd64-refined\""
                .into());
        }
        let data = &self.data.config;
        if data.root.as_os_str().is_empty() && data.pool.is_empty() {
            return Err("`data.root` is not set; give the folder of the data set".into());
        }
        let seeds = [
            ("trainer.seed", self.trainer.seed),
            ("data.split.seed", data.split.seed),
            ("data.generate.seed", data.generate.seed),
        ];
        for (key, seed) in seeds {
            if seed > GREATEST {
                return Err(format!("`{key}` is {seed}; give at most {GREATEST}"));
            }
        }
        let (optim, trainer) = (&self.optim, &self.trainer);
        let positive = [
            ("trainer.batch_size", trainer.batch_size),
            ("trainer.accumulate", trainer.accumulate),
            ("trainer.data_parallel", trainer.data_parallel),
            ("trainer.epochs", trainer.epochs),
            ("trainer.eval_batch_size", trainer.eval_batch_size),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(format!("`{key}` is 0; give at least 1"));
            }
        }
        let not_negative = [
            ("optim.weight_decay", optim.weight_decay),
            ("optim.clip", optim.clip),
            ("optim.min_lr", optim.min_lr),
            ("optim.eps", optim.eps),
            ("optim.plateau_factor", optim.plateau_factor),
            ("loss.dice", self.loss.dice),
            ("loss.cross_entropy", self.loss.cross_entropy),
            ("cache.max_gb", self.cache.max_gb),
        ];
        for (key, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("`{key}` is {value}; give a number of 0 or more"));
            }
        }
        if !(optim.lr > 0.0 && optim.lr.is_finite()) {
            return Err(format!("`optim.lr` is {}; give a number above 0", optim.lr));
        }
        for beta in optim.betas {
            if !(0.0..1.0).contains(&beta) {
                return Err(format!(
                    "`optim.betas` has {beta}; give numbers from 0 to below 1"
                ));
            }
        }
        Ok(())
    }
}
