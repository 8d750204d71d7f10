//! Checks of a recipe's values.

use vlsm_data::PromptChoice;
use vlsm_image::Fit;
use vlsm_models::Profile;

use super::Recipe;

/// TOML has no integers above this.
const GREATEST: u64 = i64::MAX as u64;

/// Above this, a number of samples, steps or epochs is a mistake.
const LARGEST_COUNT: usize = 1_000_000_000;

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
        self.augment.validate().map_err(|error| error.to_string())?;
        if self.augment.is_on() && self.method.config.profile() == Profile::Paper {
            return Err(
                "`augment` is set, but `method.profile` is \"paper\", and the published code changes no images; remove the section, or \
                 set the profile to \"default\""
                    .into(),
            );
        }
        if self.model.resize != Fit::Stretch && self.method.config.profile() == Profile::Paper {
            return Err(
                "`model.resize` is \"pad\", but `method.profile` is \"paper\", and the published code squashes images; set it to \
                 \"stretch\", or the profile to \"default\""
                    .into(),
            );
        }
        let (optim, trainer) = (&self.optim, &self.trainer);
        let positive = [
            ("trainer.batch_size", trainer.batch_size),
            ("trainer.accumulate", trainer.accumulate),
            ("trainer.data_parallel", trainer.data_parallel),
            ("trainer.epochs", trainer.epochs),
            ("trainer.eval_batch_size", trainer.eval_batch_size),
        ];
        let optional = [
            ("trainer.max_steps", trainer.max_steps),
            ("data.eval_limit", self.data.eval_limit),
        ];
        let optional = optional
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        for (key, value) in positive.into_iter().chain(optional) {
            if value == 0 {
                return Err(format!("`{key}` is 0; give at least 1"));
            }
        }
        let tested = trainer.test_prompts.iter().flatten();
        if tested
            .into_iter()
            .any(|prompt| *prompt == PromptChoice::Random)
        {
            return Err(
                "`trainer.test_prompts` has \"random\", but test prompts are fixed; name them, such as [\"p1\", \"p6\"]".into(),
            );
        }
        let counts = [
            ("optim.warmup_steps", optim.warmup_steps),
            ("trainer.epochs", trainer.epochs),
            ("trainer.batch_size", trainer.batch_size),
            ("trainer.accumulate", trainer.accumulate),
            ("trainer.data_parallel", trainer.data_parallel),
            ("trainer.eval_batch_size", trainer.eval_batch_size),
        ];
        for (key, value) in counts {
            if value > LARGEST_COUNT {
                return Err(format!("`{key}` is {value}; give at most {LARGEST_COUNT}"));
            }
        }
        let not_negative = [
            ("optim.weight_decay", optim.weight_decay),
            ("optim.clip", optim.clip),
            ("optim.min_lr", optim.min_lr),
            ("trainer.min_delta", trainer.min_delta),
            ("loss.dice", self.loss.dice),
            ("loss.cross_entropy", self.loss.cross_entropy),
            ("cache.max_gb", self.cache.max_gb),
        ];
        for (key, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("`{key}` is {value}; give a number of 0 or more"));
            }
        }
        for (key, value) in [("optim.lr", optim.lr), ("optim.eps", optim.eps)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(format!("`{key}` is {value}; give a number above 0"));
            }
        }
        if !(optim.plateau_factor > 0.0 && optim.plateau_factor < 1.0) {
            return Err(format!(
                "`optim.plateau_factor` is {}; give a number between 0 and 1, by which the learning rate is multiplied",
                optim.plateau_factor
            ));
        }
        if optim.min_lr > optim.lr {
            return Err(format!(
                "`optim.min_lr` ({}) is above `optim.lr` ({}), so the learning rate would rise; lower it",
                optim.min_lr, optim.lr
            ));
        }
        if self.loss.dice == 0.0 && self.loss.cross_entropy == 0.0 {
            return Err(
                "`loss.dice` and `loss.cross_entropy` are both 0, so there is nothing to minimise; set one of them".into(),
            );
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
