//! `vlsm segments`.

mod eval;
mod predict;
mod train;
mod whole;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use vlsm_models::clip::TEMPLATES;
use vlsm_models::segments::{ClipBase, ONE_TEMPLATE, SegmentFile, SegmentModel};

use super::shared::adapter_file;

/// Name segments of images by a CLIP: train, evaluate, predict.
#[derive(Subcommand)]
pub(crate) enum Command {
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
}

impl Command {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Train(args) => args.run(),
            Self::Eval(args) => args.run(),
            Self::Predict(args) => args.run(),
        }
    }
}

/// The sentences in which names are put.
#[derive(Clone, Copy, ValueEnum)]
enum Templates {
    /// "a photo of a NAME."
    One,
    /// The mean over the fourteen sentences of ViLD.
    Vild,
}

impl Templates {
    fn texts(self) -> &'static [&'static str] {
        match self {
            Self::One => &[ONE_TEMPLATE],
            Self::Vild => &TEMPLATES,
        }
    }
}

/// Options that say which model names segments.
#[derive(clap::Args)]
struct ModelOptions {
    /// The CLIP: a folder of Transformers or open_clip, a name on the hub, OpenAI's file, or a CLIPSeg,
    /// whose CLIP is used [default: that of the run].
    #[arg(long, required_unless_present = "adapter")]
    base: Option<String>,
    /// What `vlsm segments train` trained: a file or a run's folder; without it the base is used as it
    /// is (zero-shot).
    #[arg(long, value_name = "FILE_OR_RUN")]
    adapter: Option<PathBuf>,
    /// The sentences in which names are put [default: those of the run, else one].
    #[arg(long, value_name = "NAME")]
    templates: Option<Templates>,
    /// The share of the adapted CLIP in embeddings, from 0 to 1; the base as it was has the rest. Less
    /// keeps more of the names that the training did not see [default: that of the run].
    #[arg(long, value_name = "SHARE", requires = "adapter", value_parser = share)]
    blend: Option<f64>,
    /// Device: cpu, auto, or one that `vlsm devices` lists, such as cuda or cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// A model, its base and its sentences.
struct Loaded {
    base: ClipBase,
    model: SegmentModel,
    templates: Vec<String>,
}

impl Loaded {
    fn templates(&self) -> Vec<&str> {
        self.templates.iter().map(String::as_str).collect()
    }
}

impl ModelOptions {
    fn load(&self) -> Result<Loaded> {
        let device = vlsm_models::device(&self.device)?;
        let file = match &self.adapter {
            Some(path) => Some(SegmentFile::read(&adapter_file(path)?)?),
            None => None,
        };
        let name = self.base.clone();
        let name = name.or_else(|| file.as_ref().map(|file| file.base.name.clone()));
        let Some(name) = name else {
            bail!("name a CLIP with --base");
        };
        let base = ClipBase::load(&name, &device)?;
        let own = file.as_ref().map(|file| file.templates.clone());
        let templates = match (self.templates, own) {
            (None, Some(own)) => own,
            (given, _) => {
                let texts = given.unwrap_or(Templates::One).texts();
                texts.iter().map(ToString::to_string).collect()
            }
        };
        let model = match file {
            Some(mut file) => {
                file.blend = self.blend.unwrap_or(file.blend);
                SegmentModel::with_file(&base, file)?
            }
            None => SegmentModel::new(&base, &[], 0)?,
        };
        vlsm_alloc::release_freed_memory();
        Ok(Loaded {
            base,
            model,
            templates,
        })
    }
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "give a number from 0 to 1".to_owned())
}

/// The number as a percentage, or a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.2}", 100.0 * share))
}

/// A path for a message.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
