//! `vlsm predict`.

mod inputs;
mod labels;
mod manifest;
pub(in crate::commands) mod model;
mod names;
mod options;
mod words;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use vlsm::{ClassList, Prediction, Segmenter, Tiles, overlay};
use vlsm_data::FindingKind;
use vlsm_image::{Mask, RgbImage, write_png_gray, write_png_mask, write_png_rgb};
use vlsm_models::Precision;
use vlsm_train::evaluate::file_name;

use self::inputs::images;
use self::labels::label;
use self::manifest::{Manifest, Planned, Row};
use self::model::{Model, Wanted};
use self::names::{image_names, numbered};
use self::options::{MaskOptions, MaskRule, TileOptions};
use self::words::words;
use super::shared::make_folder;
use crate::output::{is_closed_pipe, note, print, print_error};

/// Segment images by text prompts.
///
/// A run knows its base, adapter, input size and prompt, so that it and the images are enough. An
/// adapter file knows them too. Without a run, --base names the model. Images are files, folders
/// (without their sub-folders) or patterns in quotes, such as 'scans/**/*.png'.
///
/// Writes three PNG files per image and prompt, at the image's own size: IMAGE.PROMPT.mask.png (0
/// or 255), IMAGE.PROMPT.prob.png (the probability, scaled to 0 to 255) and
/// IMAGE.PROMPT.overlay.png (the image with the mask tinted and outlined).
///
/// With --classes, or with --semantic and prompts, each pixel gets its most likely class:
/// IMAGE.labels.png holds the class ids, IMAGE.labels-overlay.png shows them in colour with a
/// legend.
///
/// predictions.csv and predictions.json in the same folder list each prediction: image, prompt, file,
/// whether anything was found, area in pixels and as a share of the image, mean probability inside
/// the mask, and number of connected parts. Files of other calls are only overwritten by the same
/// inputs, or with --force.
#[derive(clap::Args)]
#[command(override_usage = "vlsm predict RUN IMAGE... -o DIR [OPTIONS]
       vlsm predict --base BASE --prompt TEXT IMAGE... -o DIR [OPTIONS]")]
#[command(after_help = "Examples:
  vlsm predict runs/scans photo.jpg -o out
  vlsm predict runs/scans new_scans --threshold auto --largest -o out
  vlsm predict runs/scans slide.tif --tile 1024 -o out
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --prompt \"a car\" --prompt \"the sky\" street.jpg -o out
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --adapter runs/polyp --prompt \"a polyp\" *.jpg -o out
  vlsm predict --base builtin:tiny --adapter runs/camvid/adapter.safetensors \\
      --classes data/camvid/classes.json street.jpg -o out
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --prompt car --prompt sky --prompt road --semantic street.jpg -o out")]
pub(crate) struct Args {
    /// A run's folder or an adapter file, unless --base is given; then the images, folders of images
    /// or patterns.
    #[arg(required = true, value_name = "IMAGE")]
    inputs: Vec<PathBuf>,
    /// The base: a folder, or a name on the hub.
    #[arg(long)]
    base: Option<String>,
    /// An adapter file, or a run's folder, for --base; without one the base is used as it is (zero-shot).
    #[arg(long, value_name = "FILE_OR_RUN", requires = "base")]
    adapter: Option<PathBuf>,
    /// What to segment; can be given several times. `text:p1` takes `p1` as a word
    /// [default: the prompt that the run was validated under].
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Label whole images with the classes of this file, {"classes": ["Sky", ...]}. The class id is
    /// the index in the list.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    classes: Option<PathBuf>,
    /// Label whole images with the prompts as classes; the first has id 0.
    #[arg(long, requires = "prompt")]
    semantic: bool,
    #[command(flatten)]
    mask: MaskOptions,
    #[command(flatten)]
    tile: TileOptions,
    /// Minimum probability for a pixel to get a class; 0 always picks the most likely class
    /// [default: 0 if every id of --classes has a name, else 0.5].
    #[arg(long, value_name = "P")]
    background: Option<f32>,
    /// The folder to write the results to.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "DIR")]
    out: PathBuf,
    /// Side of the square input, in pixels [default: that of the adapter, else of the base].
    #[arg(long, value_name = "N")]
    image_size: Option<usize>,
    /// `multi-page` reads the first page of files with several, which are otherwise an error.
    #[arg(long, value_name = "NAME")]
    accept: Vec<FindingKind>,
    /// Overwrite files that were made of other inputs.
    #[arg(long)]
    force: bool,
    /// Print the list's rows as JSON, one on each line, instead of text.
    #[arg(long)]
    json: bool,
    /// Device: cpu, auto, or one that `vlsm devices` lists, such as cuda or cuda:1
    /// [default: that of the run, else cpu].
    #[arg(long)]
    device: Option<String>,
    /// Precision of the towers' linear layers: `f32`, or for CLIPSeg and BiomedCLIPSeg `f16`, `int8` on the CPU and `bf16` on
    /// accelerators [default: that of the run, else f32].
    #[arg(long, value_name = "NAME")]
    precision: Option<Precision>,
}

impl Args {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        self.prompt = words(&self.prompt)?;
        if !self.semantic {
            let mut seen = HashSet::new();
            self.prompt.retain(|prompt| seen.insert(prompt.clone()));
        }
        let classes = self.class_list()?;
        let tiles = self.tile.tiles()?;
        let model = self.take_model()?.load()?;
        if self.prompt.is_empty() && classes.is_none() {
            self.prompt = vec![model.own_prompt()?];
        }
        let rule = self.mask.rule(&model.inference)?;
        let images = images(&self.inputs, &self.out)?;
        make_folder(&self.out)?;
        let planned = self.plan(&model, &images, classes.as_ref(), &rule, tiles)?;
        let mut manifest = Manifest::open(&self.out, &planned, self.force, self.json)?;
        // Each is a row of the list; labels of a whole image are one.
        let masks_per_image = match &classes {
            Some(_) => 1,
            None => self.prompt.len().max(1),
        };
        let (mut failed, mut found) = (0, 0);
        for planned in planned.chunks(masks_per_image) {
            let done = match &classes {
                Some(classes) => {
                    let first_page = self.takes_first_page();
                    planned.iter().try_for_each(|planned| {
                        label(
                            &model.segmenter,
                            planned,
                            classes,
                            first_page,
                            &mut manifest,
                        )
                    })
                }
                None => self
                    .predict(&model.segmenter, planned, &rule, tiles, &mut manifest)
                    .map(|count| found += count),
            };
            match done {
                Err(error) if is_closed_pipe(&error) => return Err(error),
                Err(error) => {
                    print_error(&error);
                    failed += 1;
                }
                Ok(()) => {}
            }
        }
        manifest.finish()?;
        let out = self.out.display();
        if !self.json && classes.is_none() && failed < images.len() {
            let masks = (images.len() - failed) * masks_per_image;
            print(&format!(
                "{found} of {masks} masks have a part; masks, probabilities and overlays are in {out}, the list is in \
                 {out}/predictions.csv and .json\n"
            ))?;
        }
        if failed == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        if images.len() > 1 {
            note(&format!("{failed} of {} images failed", images.len()));
        }
        Ok(ExitCode::FAILURE)
    }

    /// The model that the options name. Without `--base` it is the first argument.
    fn take_model(&mut self) -> Result<Wanted> {
        let wanted = Wanted {
            base: self.base.clone(),
            adapter: self.adapter.clone(),
            image_size: self.image_size,
            device: self.device.clone(),
            precision: self.precision,
        };
        if self.base.is_some() {
            return Ok(wanted);
        }
        let run = self.inputs.remove(0);
        let wanted = wanted.or_of_run(&run)?;
        if self.inputs.is_empty() {
            bail!(
                "no images are given; name files or folders after `{}`",
                run.display()
            );
        }
        Ok(wanted)
    }

    fn takes_first_page(&self) -> bool {
        self.accept.contains(&FindingKind::MultiPage)
    }

    /// The predictions of each image, in order.
    fn plan(
        &self,
        model: &Model,
        images: &[PathBuf],
        classes: Option<&ClassList>,
        rule: &MaskRule,
        tiles: Option<Tiles>,
    ) -> Result<Vec<Planned>> {
        let prompts: Vec<String> = match classes {
            Some(classes) => {
                let names: Vec<&str> = classes.targets().map(|(_, name)| name).collect();
                vec![names.join("; ")]
            }
            None => self.prompt.clone(),
        };
        let random = model.segmenter.random_part();
        let random = random.map(|part| format!("random {part}"));
        let unfamiliar = match classes {
            Some(_) => vec![false; prompts.len()],
            None => model.are_unfamiliar(&prompts)?,
        };
        let warnings = unfamiliar.into_iter().map(|unfamiliar| {
            let unfamiliar = unfamiliar.then(|| "unfamiliar prompt".to_owned());
            let warnings: Vec<String> = random.iter().cloned().chain(unfamiliar).collect();
            warnings.join("; ")
        });
        let warnings: Vec<String> = warnings.collect();
        let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
        let pairs = image_names(&paths).into_iter().flat_map(|image| {
            prompts.iter().map(move |prompt| match classes {
                Some(_) => format!("{image}.labels"),
                None => format!("{image}.{}", file_name(prompt)),
            })
        });
        let names = numbered(pairs.collect());
        let inputs = images.iter().flat_map(|image| {
            prompts
                .iter()
                .zip(&warnings)
                .map(move |prompt| (image, prompt))
        });
        let planned = names
            .iter()
            .zip(inputs)
            .map(|(name, (image, (prompt, warning)))| {
                let files: Vec<String> = match classes {
                    Some(_) => ["", "-overlay"]
                        .map(|what| format!("{name}{what}.png"))
                        .into(),
                    None => ["mask", "prob", "overlay"]
                        .map(|what| format!("{name}.{what}.png"))
                        .into(),
                };
                Planned {
                    row: Row {
                        // A relative path means another file in another folder.
                        image: std::path::absolute(image)
                            .unwrap_or_else(|_| image.clone())
                            .display()
                            .to_string(),
                        prompt: prompt.clone(),
                        file: files[0].clone(),
                        threshold: rule.threshold,
                        cleanup: rule.cleanup(),
                        base: model.base.clone(),
                        adapter: model
                            .adapter
                            .as_ref()
                            .map_or_else(String::new, |path| path.display().to_string()),
                        image_size: model.segmenter.preprocessing().image_size,
                        tile: tiles.map(|tiles| tiles.side()),
                        overlap: tiles.map(|tiles| tiles.overlap()),
                        warning: warning.clone(),
                        ..Row::default()
                    },
                    image: image.clone(),
                    files: files.iter().map(|file| self.out.join(file)).collect(),
                }
            });
        Ok(planned.collect())
    }

    /// The classes to label whole images with, if `--classes` or `--semantic` is given.
    fn class_list(&self) -> Result<Option<ClassList>> {
        let classes = match &self.classes {
            Some(file) => ClassList::read(file)?,
            None if self.semantic => ClassList::of_prompts(&self.prompt)?,
            None if self.background.is_some() => {
                bail!(
                    "--background only applies to labels of whole images; add --semantic or --classes"
                )
            }
            None => return Ok(None),
        };
        Ok(Some(match self.background {
            Some(background) => classes.with_background(background)?,
            None => classes,
        }))
    }

    /// Masks of an image for all prompts. Returns how many of them are not empty.
    fn predict(
        &self,
        segmenter: &Segmenter,
        planned: &[Planned],
        rule: &MaskRule,
        tiles: Option<Tiles>,
        manifest: &mut Manifest,
    ) -> Result<usize> {
        let Some(Planned { image: path, .. }) = planned.first() else {
            return Ok(0);
        };
        let picture = segmenter.read_image(path, self.takes_first_page())?;
        let predictions = match tiles {
            Some(tiles) => segmenter.predict_tiled(&picture, tiles, &self.prompt)?,
            None => segmenter.predict_all(&segmenter.set_image(&picture)?, &self.prompt)?,
        };
        let mut not_empty = 0;
        for (prediction, Planned { row, files, .. }) in predictions.iter().zip(planned) {
            let (mask, parts) = rule.apply(prediction)?;
            write(files, &picture, prediction, &mask)?;
            let area = mask.foreground();
            let row = Row {
                area_pixels: area,
                area_share: area as f64 / mask.data.len().max(1) as f64,
                mean_probability: mean_inside(prediction, &mask),
                parts: Some(parts),
                found: area > 0,
                ..row.clone()
            };
            not_empty += usize::from(row.found);
            if !manifest.add(&row)? {
                print(&line(&files[0], &row))?;
            }
        }
        Ok(not_empty)
    }
}

/// A prediction as a line of text.
fn line(file: &Path, row: &Row) -> String {
    let found = match (row.found, row.parts, row.mean_probability) {
        (true, Some(parts), Some(mean)) => format!(
            "{:.2} % of the image, {parts} {}, mean probability {mean:.2}",
            100.0 * row.area_share,
            if parts == 1 { "part" } else { "parts" },
        ),
        _ => "nothing found".to_owned(),
    };
    format!("{}: {found}\n", file.display())
}

/// Mean probability inside a mask; none if nothing was found.
fn mean_inside(prediction: &Prediction, mask: &Mask) -> Option<f64> {
    let inside = mask.data.iter().zip(&prediction.probability);
    let inside = inside.filter(|(mask, _)| **mask != 0);
    let (count, sum) = inside.fold((0, 0.0), |(count, sum), (_, probability)| {
        (count + 1, sum + f64::from(*probability))
    });
    (count > 0).then(|| sum / f64::from(count))
}

/// Writes mask, probability map and overlay.
fn write(
    paths: &[PathBuf],
    picture: &RgbImage,
    prediction: &Prediction,
    mask: &Mask,
) -> Result<()> {
    write_png_mask(&paths[0], mask)?;
    let (width, height) = (picture.width, picture.height);
    write_png_gray(&paths[1], width, height, &prediction.levels())?;
    write_png_rgb(&paths[2], &overlay(picture, mask))?;
    Ok(())
}
