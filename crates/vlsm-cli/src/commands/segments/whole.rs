//! Labels of whole images: `--proposals` of `vlsm segments predict` and `vlsm segments eval`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use vlsm::Segmenter;
use vlsm_data::{Dataset, Sample, Split};
use vlsm_image::{ClassList, overlay_labels, write_png_gray, write_png_rgb};
use vlsm_train::segments::{
    ImageLabeller, LabelConfig, LabelScores, LabelledImage, NamedProposal, Namer, SegmentClasses,
    evaluate_labels,
};

use super::{Loaded, percent};
use crate::commands::predict::model::Wanted;
use crate::commands::shared::{bullet_list, check_new_file, make_folder, to_json};
use crate::output::{advance, notice, print, progress_bar, table, thousands};

/// The pixels of the smallest part that is named.
const MIN_AREA: usize = 100;

/// Options that say who finds the parts of an image.
#[derive(clap::Args)]
#[group(id = "segmenter", multiple = true)]
struct SegmenterOptions {
    /// Label whole images: the CLIP names what this segmenter finds for the classes, a base as in
    /// `vlsm predict`. A SAN proposes its masks, other models the connected parts of their labels
    /// [default: the base of --proposals-adapter].
    #[arg(long, value_name = "BASE")]
    proposals: Option<String>,
    /// An adapter file, or a run's folder, for the segmenter.
    #[arg(long, value_name = "FILE_OR_RUN")]
    proposals_adapter: Option<PathBuf>,
}

/// Options for labels of whole images.
#[derive(clap::Args)]
pub(super) struct WholeOptions {
    #[command(flatten)]
    segmenter: SegmenterOptions,
    /// Connected parts with fewer pixels keep the segmenter's label [default: 100].
    #[arg(long, value_name = "PIXELS", requires = "segmenter")]
    min_area: Option<usize>,
    /// The exponent of the CLIP's probability; the segmenter's has the rest, so that 0 leaves the CLIP
    /// out and 1 the segmenter [default: 0.7, as in OVSeg].
    #[arg(long, value_name = "W", requires = "segmenter")]
    clip_weight: Option<f32>,
    /// Minimum probability for a pixel to get a class from the segmenter; 0 always picks the most likely
    /// class [default: 0 if every id has a name, else 0.5].
    #[arg(long, value_name = "P", requires = "segmenter")]
    background: Option<f32>,
}

impl WholeOptions {
    /// Whether a segmenter is given.
    pub(super) fn are_given(&self) -> bool {
        let SegmenterOptions {
            proposals,
            proposals_adapter,
        } = &self.segmenter;
        proposals.is_some() || proposals_adapter.is_some()
    }

    /// The adapter of the segmenter.
    pub(super) fn adapter(&self) -> Option<&Path> {
        self.segmenter.proposals_adapter.as_deref()
    }

    /// Classes with the background's threshold.
    fn classes(&self, classes: ClassList) -> Result<ClassList> {
        Ok(match self.background {
            Some(background) => classes.with_background(background)?,
            None => classes,
        })
    }

    fn segmenter(&self, device: &str) -> Result<Segmenter> {
        let wanted = Wanted {
            base: self.segmenter.proposals.clone(),
            adapter: self.segmenter.proposals_adapter.clone(),
            device: Some(device.to_owned()),
            ..Wanted::default()
        };
        let segmenter = wanted.load()?.segmenter;
        segmenter.warn_of_random_part();
        Ok(segmenter)
    }

    fn config(&self, batch: usize) -> LabelConfig {
        LabelConfig {
            min_area: self.min_area.unwrap_or(MIN_AREA),
            clip_weight: self.clip_weight.unwrap_or(LabelConfig::CLIP_WEIGHT),
            batch,
        }
    }
}

/// What labels whole images, apart from the segmenter.
pub(super) struct Whole<'a> {
    pub(super) options: &'a WholeOptions,
    pub(super) loaded: &'a Loaded,
    pub(super) device: &'a str,
    /// Proposals of one pass.
    pub(super) batch: usize,
}

impl Whole<'_> {
    /// Does something with a labeller.
    fn with<T>(
        &self,
        classes: &ClassList,
        work: impl FnOnce(&ImageLabeller<'_>, &Segmenter) -> Result<T>,
    ) -> Result<T> {
        let segmenter = self.options.segmenter(self.device)?;
        let templates = self.loaded.templates();
        let namer = Namer {
            model: &self.loaded.model,
            tokenizer: &self.loaded.base.tokenizer,
            preprocessing: &self.loaded.base.preprocessing,
            templates: &templates,
        };
        let config = self.options.config(self.batch);
        let (engine, adapter) = (segmenter.engine(), segmenter.adapter());
        let labeller = ImageLabeller::new(engine, adapter, namer, classes, config)?;
        work(&labeller, &segmenter)
    }

    /// Evaluates labels of a data set's images.
    pub(super) fn evaluate(
        &self,
        dataset: &Dataset,
        split: Split,
        limit: Option<usize>,
        novel: &SegmentClasses,
        json: bool,
    ) -> Result<ExitCode> {
        let classes = self.options.classes(dataset.class_list()?)?;
        let samples = dataset.labelled(split);
        if samples.is_empty() {
            dataset.require(split)?;
        }
        let samples: &[Sample] = &samples[..limit.unwrap_or(samples.len()).min(samples.len())];
        let scores = self.with(&classes, |labeller, _| {
            let bar = progress_bar("labelling", samples.len());
            Ok(evaluate_labels(labeller, samples, novel, advance(&bar))?)
        })?;
        print(&match json {
            true => to_json(&scores)?,
            false => report(&scores, novel),
        })?;
        if scores.images_without_proposals > 0 {
            notice(&format!(
                "note: the segmenter found no part in {} of {} images; their labels are its own; see --min-area and \
                 --background",
                scores.images_without_proposals,
                samples.len()
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Labels an image and writes the labels to a folder, if there is one.
    pub(super) fn predict(
        &self,
        image: &Path,
        classes: ClassList,
        out: Option<&Path>,
        force: bool,
        json: bool,
    ) -> Result<ExitCode> {
        let classes = self.options.classes(classes)?;
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        let files: Vec<PathBuf> = match out {
            Some(out) => ["", "-overlay"]
                .map(|what| out.join(format!("{stem}.labels{what}.png")))
                .into(),
            None => Vec::new(),
        };
        for file in &files {
            check_new_file(file, force)?;
        }
        let (picture, labelled) = self.with(&classes, |labeller, segmenter| {
            let picture = segmenter.read_image(image, false)?;
            let labelled = labeller.label(&picture)?;
            Ok((picture, labelled))
        })?;
        if let Some(out) = out {
            make_folder(out)?;
            let labels = &labelled.named;
            write_png_gray(&files[0], labels.width, labels.height, &labels.data)?;
            write_png_rgb(&files[1], &overlay_labels(&picture, labels, &classes))?;
        }
        let found = Found::new(&labelled, &classes);
        print(&match json {
            true => to_json(&found)?,
            false => found.text() + &bullet_list(&files),
        })?;
        if labelled.proposals.iter().all(|one| one.clip.is_none()) {
            notice(
                "note: the segmenter found no part, so that the labels are its own; see --min-area and --background",
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What `predict` prints.
#[derive(Serialize)]
struct Found {
    labels: Vec<Label>,
    proposals: Vec<Part>,
}

/// A label of the image.
#[derive(Serialize)]
struct Label {
    id: u8,
    name: String,
    /// The share of the image's pixels.
    share: f64,
    /// The share that the segmenter alone gives it.
    segmenter_share: f64,
}

/// A proposal and its names.
#[derive(Serialize)]
struct Part {
    pixels: usize,
    /// Left, top, right, bottom, the last two exclusive.
    #[serde(rename = "box")]
    bounds: [usize; 4],
    /// The name with the highest score.
    name: String,
    segmenter: Choice,
    /// `None` for a mask without a pixel above 0.4.
    clip: Option<Choice>,
}

/// The most probable name.
#[derive(Serialize)]
struct Choice {
    name: String,
    probability: f32,
}

impl Found {
    fn new(image: &LabelledImage, classes: &ClassList) -> Self {
        let names: Vec<&str> = classes.targets().map(|(_, name)| name).collect();
        let choice = |probabilities: &[f32]| {
            let class = vlsm_train::segments::best(probabilities);
            Choice {
                name: names[class].to_owned(),
                probability: probabilities[class],
            }
        };
        let pixels = image.named.data.len().max(1) as f64;
        let mut ids = [image.named.ids(), image.segmenter.ids()].concat();
        ids.sort_unstable();
        ids.dedup();
        let labels = ids.into_iter().map(|id| Label {
            id,
            name: classes.name(id).to_owned(),
            share: image.named.count(id) as f64 / pixels,
            segmenter_share: image.segmenter.count(id) as f64 / pixels,
        });
        let part = |one: &NamedProposal| Part {
            pixels: one.proposal.mask.foreground(),
            bounds: one.proposal.mask.bounding_box().unwrap_or_default(),
            name: names[one.class()].to_owned(),
            segmenter: choice(&one.proposal.classes),
            clip: one.clip.as_deref().map(choice),
        };
        Self {
            labels: labels.collect(),
            proposals: image.proposals.iter().map(part).collect(),
        }
    }

    fn text(&self) -> String {
        let shown = |choice: Option<&Choice>| match choice {
            Some(Choice { name, probability }) => {
                format!("{name} {}", percent(Some(f64::from(*probability))))
            }
            None => "-".to_owned(),
        };
        let parts: Vec<Vec<String>> = self
            .proposals
            .iter()
            .map(|part| {
                let [left, top, right, bottom] = part.bounds;
                vec![
                    thousands(part.pixels),
                    format!("{left},{top} to {right},{bottom}"),
                    shown(Some(&part.segmenter)),
                    shown(part.clip.as_ref()),
                    part.name.clone(),
                ]
            })
            .collect();
        let labels: Vec<Vec<String>> = self
            .labels
            .iter()
            .map(|label| {
                vec![
                    label.name.clone(),
                    label.id.to_string(),
                    percent(Some(label.segmenter_share)),
                    percent(Some(label.share)),
                ]
            })
            .collect();
        let header = ["pixels", "box", "segmenter %", "CLIP %", "name"];
        let mut text = match parts.is_empty() {
            true => String::new(),
            false => table(&header, &parts) + "\n",
        };
        text += &table(&["label", "id", "segmenter %", "with CLIP %"], &labels);
        text
    }
}

/// The scores as a table.
fn report(scores: &LabelScores, novel: &SegmentClasses) -> String {
    let LabelScores {
        segmenter, named, ..
    } = scores;
    let is_novel = |name: &str| {
        let index = novel.names().iter().position(|other| other == name);
        index.is_some_and(|index| novel.is_novel(index))
    };
    let mut rows: Vec<Vec<String>> = segmenter
        .all
        .classes
        .iter()
        .zip(&named.all.classes)
        .map(|(alone, named)| {
            vec![
                alone.name.clone(),
                match is_novel(&alone.name) {
                    true => "novel",
                    false => "base",
                }
                .to_owned(),
                percent(alone.iou),
                percent(named.iou),
                thousands(alone.pixels.truth as usize),
            ]
        })
        .collect();
    for (what, alone, named) in [
        ("mIoU", Some(segmenter.all.miou), Some(named.all.miou)),
        ("base mIoU", segmenter.base_miou, named.base_miou),
        ("novel mIoU", segmenter.novel_miou, named.novel_miou),
        (
            "pixel accuracy",
            Some(segmenter.all.pixel_accuracy),
            Some(named.all.pixel_accuracy),
        ),
    ] {
        rows.push(vec![
            what.to_owned(),
            String::new(),
            percent(alone),
            percent(named),
            String::new(),
        ]);
    }
    let header = ["class", "kind", "segmenter", "with CLIP", "pixels"];
    table(&header, &rows)
        + &format!(
            "IoU (%) over the pixels of {} images; {} proposals were named\n",
            thousands(segmenter.all.images),
            thousands(scores.proposals),
        )
}

/// The classes of names that are given without ids.
pub(super) fn class_list(names: &[String], file: Option<&Path>) -> Result<ClassList> {
    let (mut all, ignore) = match file {
        Some(file) => {
            let file = vlsm_image::ClassNames::read(file)?;
            (file.texts(), file.ignore)
        }
        None => (Vec::new(), None),
    };
    all.extend(names.iter().cloned());
    if all.iter().filter(|name| !name.is_empty()).count() < 2 {
        bail!(
            "labels of a whole image need at least two names; give more with --name or --classes"
        );
    }
    Ok(ClassList::new(all, ignore)?)
}
