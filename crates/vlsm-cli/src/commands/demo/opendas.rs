//! `vlsm demo --system opendas`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use vlsm_data::{DataConfig, Dataset, GenerateConfig, Sample};
use vlsm_image::{ClassList, ClassMap, RgbImage, overlay_labels, resize_image, resize_mask};
use vlsm_models::segments::{ClipBase, ONE_TEMPLATE, SegmentFile, SegmentModel};
use vlsm_synth::{Domain, write_classes};
use vlsm_train::RunFolder;
use vlsm_train::report::{SystemCase, SystemReport};
use vlsm_train::segments::{
    Named, SegmentClasses, SegmentEvaluation, SegmentRecipe, SegmentSummary, evaluate_segments,
    train_segments,
};

use super::write_report;
use crate::commands::segments::percent;
use crate::commands::shortcuts::toml_string;
use crate::output::{notice, thousands};
use crate::stop;
use crate::terminal::Terminal;

/// The CLIP.
const BASE: &str = "builtin:tiny-clip";
/// Side of the images in pixels, far below the 168 that the CLIP has learnt from.
const SIDE: usize = 64;
/// Every fifth class is novel, which spreads over colours and shapes.
const NOVEL: usize = 5;
/// Images that the page shows.
const SHOWN: usize = 6;
/// Side of a picture on the page, in pixels.
const PICTURE: usize = 256;
/// The id of pixels without a class.
const NONE: u8 = 255;

/// The demo's settings.
pub(super) struct OpendasDemo {
    pub(super) quick: bool,
    pub(super) seed: u64,
    pub(super) out: PathBuf,
}

impl OpendasDemo {
    /// Runs the demo; the text to print, or an exit code if it was stopped.
    pub(super) fn run(&self) -> Result<std::result::Result<String, ExitCode>> {
        let data = self.objects()?;
        let recipe = self.recipe(&data)?;
        let run = RunFolder {
            path: self.out.join("run"),
        };
        let train = || train_segments(&recipe, &run.path, true, &mut Terminal::new());
        let summary = match stop::stoppable(None, train)? {
            Ok(summary) => summary,
            Err(code) => return Ok(Err(code)),
        };
        notice("naming the segments of images for the page");
        let rows: Vec<Vec<String>> = summary
            .stages
            .iter()
            .enumerate()
            .map(|(index, stage)| {
                let test = stage.test.as_ref();
                let name = match index {
                    0 => "the CLIP alone".to_owned(),
                    _ => format!("after stage {index}: {}", stage.trained),
                };
                vec![
                    name,
                    percent(test.and_then(|test| test.base_f1)),
                    percent(test.and_then(|test| test.novel_f1)),
                    percent(test.map(|test| test.weighted_f1)),
                    thousands(stage.trained_parameters),
                ]
            })
            .collect();
        let header = ["names of segments", "B-F1", "N-F1", "W-F1", "trained"];
        let [base, novel] = [1, 2].map(|column| {
            let last = rows.last().map_or("-", |row| &row[column]);
            format!("from {} to {last}", rows[0][column])
        });
        let report = SystemReport {
            title: "A CLIP learns to name segments in small images".into(),
            lead: format!(
                "Two stages of learnt prompts change the F1 of base classes {base} %, and that of classes which training did not see \
                 {novel} %."
            ),
            header: header.map(str::to_owned).to_vec(),
            rows,
            heading: "Segments and their names".into(),
            cases: cases(&data, &run)?,
            notes: self.notes(&summary),
        };
        Ok(Ok(write_report(&report, &self.out)?))
    }

    /// Images to train on and to test with.
    fn images(&self) -> [usize; 2] {
        match self.quick {
            true => [60, 30],
            false => [600, 150],
        }
    }

    fn objects(&self) -> Result<PathBuf> {
        let folder = self.out.join("objects");
        let [train, test] = self.images();
        if !folder.exists() {
            let config = GenerateConfig {
                seed: self.seed,
                side: SIDE,
                train,
                val: 0,
                test,
            };
            write_classes(Domain::Scenes, &config, &folder, || {})?;
        }
        Ok(folder)
    }

    fn recipe(&self, data: &Path) -> Result<SegmentRecipe> {
        let epochs = if self.quick { 2 } else { 5 };
        let settings = [
            format!("base=\"{BASE}\""),
            format!("seed={}", self.seed),
            format!("novel={:?}", novel()),
            format!("data.root={}", toml_string(&data.display().to_string())),
            format!("stage1.epochs={epochs}"),
            format!("stage2.epochs={epochs}"),
            "stage1.method={ kind = \"vpt\", tokens = 4 }".into(),
            "stage2.method={ kind = \"coop\", tokens = 4, depth = 5 }".into(),
        ];
        SegmentRecipe::parse("", &settings).map_err(anyhow::Error::msg)
    }

    fn notes(&self, summary: &SegmentSummary) -> Vec<String> {
        let [train, test] = self.images();
        let tested = summary.stages.first().and_then(|stage| stage.test.as_ref());
        vec![
            format!(
                "{train} drawings of {SIDE} x {SIDE} pixels to train on and {test} to test with, while {BASE} has learnt from those of \
                 168 x 168. A class is a colour and a shape. Each class in an image is a segment: {} to train on, of base classes alone, \
                 and {} to test with. Every fifth class is novel: training sees neither its segments nor its name.",
                thousands(summary.segments),
                thousands(tested.map_or(0, |test| test.segments)),
            ),
            format!(
                "The CLIP gives a segment the most similar of all names. OpenDAS trains visual prompts, then text prompts with a triplet \
                 loss; the CLIP itself stays as it is: {} steps in {:.0} s.",
                thousands(summary.steps),
                summary.seconds
            ),
            "F1 in percent, the mean over classes weighted by their segments: B-F1 of base classes, N-F1 of novel ones, W-F1 of all."
                .to_owned(),
        ]
    }
}

/// Classes that training does not see.
fn novel() -> Vec<String> {
    let names = Domain::Scenes.class_names().unwrap_or_default();
    names.into_iter().step_by(NOVEL).collect()
}

/// Test images that show a novel class, those whose names the training changes first: the image, its true names, and the names before
/// and after the training.
fn cases(data: &Path, run: &RunFolder) -> Result<Vec<SystemCase>> {
    let dataset = Dataset::open(&DataConfig::new(data))?;
    let novel = novel();
    let classes = SegmentClasses::new(&dataset, &novel)?;
    let of_one_image = |a: &Sample, b: &Sample| a.source.id() == b.source.id();
    let images = dataset.test.chunk_by(of_one_image);
    let shows_novel =
        |samples: &&[Sample]| samples.iter().any(|sample| novel.contains(&sample.group));
    let images: Vec<&[Sample]> = images.filter(shows_novel).collect();
    let samples = images.concat();
    let base = ClipBase::load(BASE, &vlsm_models::device("cpu")?)?;
    let file = SegmentFile::read(&run.adapter())?;
    let models = [
        SegmentModel::new(&base, &[], 0)?,
        SegmentModel::with_file(&base, file)?,
    ];
    let config = SegmentEvaluation {
        tokenizer: &base.tokenizer,
        preprocessing: &base.preprocessing,
        dataset: &dataset,
        classes: &classes,
        templates: &[ONE_TEMPLATE],
        batch: 32,
    };
    let named = models.each_ref().map(|model| {
        let named = evaluate_segments(model, &samples, &config, |_| ControlFlow::Continue(()));
        named.map(|(named, _)| named)
    });
    let [before, after] = named;
    let (before, after) = (before?, after?);
    let list = ClassList::new(classes.names().to_vec(), Some(NONE))?;
    let names = classes.names().iter();
    let mut at = 0;
    let mut parts = Vec::new();
    for samples in images {
        let here = at..at + samples.len();
        at = here.end;
        parts.push((samples, &before[here.clone()], &after[here]));
    }
    let classes_of =
        |named: &[Named]| -> Vec<usize> { named.iter().map(|one| one.class).collect() };
    parts.sort_by_key(|(_, before, after)| classes_of(before) == classes_of(after));
    let mut cases = Vec::new();
    for (samples, before, after) in parts.into_iter().take(SHOWN) {
        let truth = samples.iter().map(|sample| {
            let class = names.clone().position(|name| *name == sample.group);
            class.unwrap_or(NONE.into())
        });
        let truth: Vec<usize> = truth.collect();
        let [before, after] = [before, after].map(classes_of);
        let right = |named: &[usize]| {
            let pairs = truth.iter().zip(named);
            pairs.filter(|(truth, named)| truth == named).count()
        };
        let caption = |name: &str, named: &[usize]| {
            format!("{name}: {} of {} right", right(named), truth.len())
        };
        let nothing = vec![NONE.into(); truth.len()];
        let [image, truth_picture, before_picture, after_picture] =
            [&nothing, &truth, &before, &after]
                .map(|named| tinted(samples, &dataset, named, &list));
        let number = cases.len() + 1;
        cases.push(SystemCase {
            title: format!("image {number}"),
            pictures: vec![
                ("the image".into(), image?),
                ("the true names".into(), truth_picture?),
                (caption("before", &before), before_picture?),
                (caption("after", &after), after_picture?),
            ],
        });
    }
    Ok(cases)
}

/// An image with each of its segments in the colour of a class.
fn tinted(
    samples: &[Sample],
    dataset: &Dataset,
    named: &[usize],
    classes: &ClassList,
) -> Result<RgbImage> {
    let mut picture = None;
    for (sample, class) in samples.iter().zip(named) {
        let (image, mask) = sample.read(dataset.ignore)?;
        // Enlarged, so that the legend is not wider than the image.
        let image = resize_image(&image, PICTURE);
        let mask = resize_mask(&mask, PICTURE, PICTURE);
        let (_, map) = match &mut picture {
            Some(picture) => picture,
            None => {
                let (width, height) = (image.width, image.height);
                let map = ClassMap::new(width, height, vec![NONE; width * height])?;
                picture.insert((image, map))
            }
        };
        for (label, inside) in map.data.iter_mut().zip(&mask.data) {
            if *inside == 1 {
                *label = u8::try_from(*class).unwrap_or(NONE);
            }
        }
    }
    let Some((image, map)) = picture else {
        anyhow::bail!("an image has no segment");
    };
    Ok(overlay_labels(&image, &map, classes))
}
