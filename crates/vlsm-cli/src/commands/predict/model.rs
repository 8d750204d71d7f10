//! The model that predicts: a run, an adapter file, or a base with or without an adapter.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vlsm::Segmenter;
use vlsm_models::{AdapterFile, Base, Inference, Precision};
use vlsm_train::{Recipe, RunFolder};

use crate::commands::shared::adapter_file;
use crate::output::notice;

/// A model, and how it is meant to be used.
pub(in crate::commands) struct Model {
    pub(in crate::commands) segmenter: Segmenter,
    pub(in crate::commands) inference: Inference,
    /// The base's name.
    pub(in crate::commands) base: String,
    pub(in crate::commands) adapter: Option<PathBuf>,
}

/// What the options say about the model; what they leave open comes from the run or the adapter file.
#[derive(Default)]
pub(in crate::commands) struct Wanted {
    pub(in crate::commands) base: Option<String>,
    pub(in crate::commands) adapter: Option<PathBuf>,
    pub(in crate::commands) image_size: Option<usize>,
    pub(in crate::commands) device: Option<String>,
    pub(in crate::commands) precision: Option<Precision>,
}

impl Wanted {
    /// Takes what is open from a run's folder or an adapter file, the first argument.
    pub(super) fn or_of_run(mut self, run: &Path) -> Result<Self> {
        let folder = RunFolder {
            path: run.to_owned(),
        };
        let shown = run.display();
        if folder.recipe().is_file() {
            let recipe = Recipe::read(&folder.recipe(), &[])?;
            self.adapter = Some(adapter_file(run)?);
            self.base = Some(recipe.model.base);
            self.device.get_or_insert(recipe.trainer.device);
            self.precision.get_or_insert(recipe.model.precision);
        } else if run.is_file() && run.extension().is_some_and(|name| name == "safetensors") {
            self.adapter = Some(run.to_owned());
        } else {
            bail!(
                "`{shown}` is neither the folder of a run nor an adapter file (.safetensors); give one of them before the \
                 images, or name a model with --base"
            );
        }
        Ok(self)
    }

    /// Loads the model.
    pub(in crate::commands) fn load(self) -> Result<Model> {
        let adapter = self.adapter.as_deref().map(adapter_file).transpose()?;
        let file = adapter.as_deref().map(AdapterFile::read).transpose()?;
        let named = file.as_ref().and_then(|file| file.base.clone());
        let base = self.base.or(named.map(|base| base.name));
        let base = base.with_context(|| {
            let path = adapter.as_deref().unwrap_or(Path::new("-")).display();
            format!("`{path}` does not say which base it belongs to; name it with --base")
        })?;
        let device = vlsm_models::device(self.device.as_deref().unwrap_or("cpu"))?;
        let precision = self.precision.unwrap_or_default();
        let loaded = Base::load(&base, &device)?.with_precision(precision)?;
        let mut segmenter = Segmenter::from_base(loaded)?;
        // The blocks that loading freed would otherwise add a sixtieth to the peak memory of a prediction.
        vlsm_alloc::release_freed_memory();
        let mut inference = Inference::default();
        if let Some(file) = file {
            inference = file.inference.clone();
            let adapter = segmenter.engine().add(file)?;
            segmenter = Segmenter::new(segmenter.engine().clone(), adapter);
        }
        if let Some(size) = self.image_size {
            segmenter = segmenter.with_image_size(size)?;
        }
        Ok(Model {
            segmenter,
            inference,
            base,
            adapter,
        })
    }
}

impl Model {
    /// The prompt that the adapter was validated under.
    ///
    /// # Errors
    /// If there is none; the message names prompts of its training.
    pub(super) fn own_prompt(&self) -> Result<String> {
        if let Some(prompt) = &self.inference.prompt {
            return Ok(prompt.clone());
        }
        let examples: Vec<String> = self
            .inference
            .prompts
            .iter()
            .take(3)
            .map(|text| format!("\"{text}\""))
            .collect();
        let examples = match examples.is_empty() {
            true => String::new(),
            false => format!(", such as --prompt {}", examples.join(" or ")),
        };
        bail!(
            "no prompt is given, and the model has none that fits all images; add --prompt{examples}"
        )
    }

    /// Whether each prompt is unlike those of the training; then there is a notice.
    pub(super) fn are_unfamiliar(&self, prompts: &[String]) -> Result<Vec<bool>> {
        let base = self.segmenter.engine().zero_shot().model();
        let nearest = self
            .inference
            .unfamiliar(base, self.segmenter.tokenizer(), prompts)?;
        for (prompt, nearest) in prompts.iter().zip(&nearest) {
            if let Some(nearest) = nearest {
                notice(&format!(
                    "note: the prompt `{prompt}` is no nearer to the training prompts than unrelated words are, so its mask may \
                     mean nothing; the nearest training prompt is `{nearest}`"
                ));
            }
        }
        Ok(nearest.iter().map(Option::is_some).collect())
    }
}
