//! `vlsm predict`.

mod manifest;
mod names;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use vlsm::{ClassList, Prediction, Segmenter, overlay, overlay_labels};
use vlsm_data::FindingKind;
use vlsm_image::{ClassMap, RgbImage, write_png_gray, write_png_mask, write_png_rgb};
use vlsm_models::Precision;
use vlsm_train::evaluate::file_name;

use self::manifest::{Manifest, Planned, Row};
use self::names::{image_names, numbered};
use super::shared::{adapter_file, bullet_list, make_folder, segmenter};
use crate::output::{is_closed_pipe, note, print, print_error, table};

/// Segment images by text prompts.
///
/// Writes three PNG files per image and prompt, at the image's own size: IMAGE.PROMPT.mask.png (0
/// or 255), IMAGE.PROMPT.prob.png (the probability, scaled to 0 to 255) and
/// IMAGE.PROMPT.overlay.png (the image with the mask tinted and outlined).
///
/// With --classes, or with --semantic and prompts, each pixel gets its most likely class:
/// IMAGE.labels.png holds the class ids, IMAGE.labels-overlay.png shows them in colour with a
/// legend.
///
/// predictions.csv in the same folder lists each prediction: image, prompt, file, share of the image,
/// mean probability inside the mask, and whether anything was found. Files of other calls are only
/// overwritten by the same inputs, or with --force.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --prompt \"a car\" --prompt \"the sky\" street.jpg -o out
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --adapter runs/polyp --prompt \"a polyp\" *.jpg -o out
  vlsm predict --base builtin:tiny --adapter runs/camvid/adapter.safetensors \\
      --classes data/camvid/classes.json street.jpg -o out
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --prompt car --prompt sky --prompt road --semantic street.jpg -o out")]
pub(crate) struct Args {
    /// The images.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// The base: a folder, or a name on the hub.
    #[arg(long)]
    base: String,
    /// An adapter file, or a run's folder; without one the base is used as it is (zero-shot).
    #[arg(long, value_name = "FILE_OR_RUN")]
    adapter: Option<PathBuf>,
    /// What to segment; can be given several times. `text:p1` takes `p1` as a word.
    #[arg(long, required_unless_present = "classes", value_name = "TEXT")]
    prompt: Vec<String>,
    /// Label whole images with the classes of this file, {"classes": ["Sky", ...]}. The class id is
    /// the index in the list.
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    classes: Option<PathBuf>,
    /// Label whole images with the prompts as classes; the first has id 0.
    #[arg(long)]
    semantic: bool,
    /// Minimum probability for a pixel to get a class; 0 always picks the most likely class
    /// [default: 0 if every id of --classes has a name, else 0.5].
    #[arg(long, value_name = "P")]
    background: Option<f32>,
    /// The folder to write the results to.
    #[arg(short, long, value_name = "DIR")]
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
    /// Device: cpu, auto, or one that `vlsm devices` lists, such as cuda or cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Precision of the towers' linear layers: `f32`, or for CLIPSeg and BiomedCLIPSeg `int8` on the CPU and `bf16` on accelerators.
    #[arg(long, value_name = "NAME", default_value = "f32")]
    precision: Precision,
}

impl Args {
    pub(super) fn run(mut self) -> Result<ExitCode> {
        self.prompt = words(&self.prompt)?;
        if !self.semantic {
            let mut seen = HashSet::new();
            self.prompt.retain(|prompt| seen.insert(prompt.clone()));
        }
        let classes = self.class_list()?;
        self.adapter = self.adapter.as_deref().map(adapter_file).transpose()?;
        let segmenter = segmenter(
            &self.base,
            self.adapter.as_deref(),
            self.image_size,
            &self.device,
            self.precision,
        )?;
        make_folder(&self.out)?;
        let planned = self.plan(&segmenter, classes.as_ref());
        let mut manifest = Manifest::open(&self.out, &planned, self.force)?;
        // Each is a row of the list; labels of a whole image are one.
        let masks_per_image = match &classes {
            Some(_) => 1,
            None => self.prompt.len().max(1),
        };
        let images = planned.chunks(masks_per_image);
        let (count, mut failed) = (images.len(), 0);
        for planned in images {
            let done = match &classes {
                Some(classes) => label(&segmenter, planned, classes, &self.accept, &mut manifest),
                None => self.predict(&segmenter, planned, &mut manifest),
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
        if failed == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        if count > 1 {
            note(&format!("{failed} of {count} images failed"));
        }
        Ok(ExitCode::FAILURE)
    }

    /// The predictions of each image, in order.
    fn plan(&self, segmenter: &Segmenter, classes: Option<&ClassList>) -> Vec<Planned> {
        let mut images: Vec<&Path> = Vec::new();
        for image in &self.images {
            if !images.contains(&image.as_path()) {
                images.push(image);
            }
        }
        let prompts: Vec<String> = match classes {
            Some(classes) => {
                let names: Vec<&str> = classes.targets().map(|(_, name)| name).collect();
                vec![names.join("; ")]
            }
            None => self.prompt.clone(),
        };
        let pairs = image_names(&images).into_iter().flat_map(|image| {
            prompts.iter().map(move |prompt| match classes {
                Some(_) => format!("{image}.labels"),
                None => format!("{image}.{}", file_name(prompt)),
            })
        });
        let names = numbered(pairs.collect());
        let inputs = images
            .iter()
            .flat_map(|image| prompts.iter().map(move |prompt| (image, prompt)));
        let planned = names.iter().zip(inputs).map(|(name, (image, prompt))| {
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
                        .unwrap_or_else(|_| image.to_path_buf())
                        .display()
                        .to_string(),
                    prompt: prompt.clone(),
                    file: files[0].clone(),
                    base: self.base.clone(),
                    adapter: self
                        .adapter
                        .as_ref()
                        .map_or_else(String::new, |path| path.display().to_string()),
                    image_size: segmenter.preprocessing().image_size,
                    warning: segmenter
                        .random_part()
                        .map_or_else(String::new, |part| format!("random {part}")),
                    ..Row::default()
                },
                image: image.to_path_buf(),
                files: files.iter().map(|file| self.out.join(file)).collect(),
            }
        });
        planned.collect()
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

    /// Masks of an image for all prompts.
    fn predict(
        &self,
        segmenter: &Segmenter,
        planned: &[Planned],
        manifest: &mut Manifest,
    ) -> Result<()> {
        let Some(Planned { image: path, .. }) = planned.first() else {
            return Ok(());
        };
        let picture = open_image(segmenter, path, &self.accept)?;
        let image = segmenter.set_image(&picture)?;
        let predictions = segmenter.predict_all(&image, &self.prompt)?;
        for (prediction, Planned { row, files, .. }) in predictions.iter().zip(planned) {
            write(files, &picture, prediction)?;
            let row = Row {
                area_share: prediction.share(),
                mean_probability: mean_inside(prediction),
                found: prediction.mask.foreground() > 0,
                ..row.clone()
            };
            manifest.add(&row)?;
            let found = match row.found {
                true => format!("covers {:.2} % of the image", 100.0 * row.area_share),
                false => "nothing found".to_owned(),
            };
            print(&format!(
                "{}: `{}`: {found}\n{}",
                path.display(),
                row.prompt,
                bullet_list(files)
            ))?;
        }
        Ok(())
    }
}

/// Labels of a whole image.
fn label(
    segmenter: &Segmenter,
    planned: &[Planned],
    classes: &ClassList,
    accept: &[FindingKind],
    manifest: &mut Manifest,
) -> Result<()> {
    let Some(Planned {
        row,
        image: path,
        files,
    }) = planned.first()
    else {
        return Ok(());
    };
    let picture = open_image(segmenter, path, accept)?;
    let image = segmenter.set_image(&picture)?;
    let labels = segmenter.segment(&image, classes)?;
    write_png_gray(&files[0], labels.width, labels.height, &labels.data)?;
    write_png_rgb(&files[1], &overlay_labels(&picture, &labels, classes))?;
    let pixels = labels.data.len().max(1);
    let labelled = pixels - labels.count(classes.none());
    manifest.add(&Row {
        area_share: labelled as f64 / pixels as f64,
        found: labelled > 0,
        ..row.clone()
    })?;
    print(&format!(
        "{}:\n{}{}",
        path.display(),
        shares(&labels, classes),
        bullet_list(files)
    ))?;
    Ok(())
}

/// The texts of `--prompt`.
///
/// # Errors
/// If one is the name of a data set's prompts, which mean nothing without the data set.
fn words(prompts: &[String]) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for prompt in prompts {
        let is_name = |text: &str| {
            let digits = text.strip_prefix(['p', 'P']).unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        if is_name(prompt) || prompt == "random" {
            bail!(
                "--prompt {prompt}: names prompts of a data set, as for `vlsm eval`, but here there are only images; write \
                 the words to look for, or `text:{prompt}` if these are the words"
            );
        }
        let text = prompt.strip_prefix("text:").unwrap_or(prompt).to_owned();
        if text.trim().is_empty() {
            note("note: a prompt is empty; its mask depends on the image alone");
        }
        words.push(text);
    }
    Ok(words)
}

fn open_image(segmenter: &Segmenter, path: &Path, accept: &[FindingKind]) -> Result<RgbImage> {
    if path.is_dir() {
        bail!(
            "`{0}` is a folder; name the images in it, such as {0}/*.png",
            path.display()
        );
    }
    Ok(segmenter.read_image(path, accept.contains(&FindingKind::MultiPage))?)
}

/// Mean probability inside the mask; none if nothing was found.
fn mean_inside(prediction: &Prediction) -> Option<f64> {
    let inside = prediction.mask.data.iter().zip(&prediction.probability);
    let inside = inside.filter(|(mask, _)| **mask != 0);
    let (count, sum) = inside.fold((0, 0.0), |(count, sum), (_, probability)| {
        (count + 1, sum + f64::from(*probability))
    });
    (count > 0).then(|| sum / f64::from(count))
}

/// Writes mask, probability map and overlay.
fn write(paths: &[PathBuf], picture: &RgbImage, prediction: &Prediction) -> Result<()> {
    write_png_mask(&paths[0], &prediction.mask)?;
    let (width, height) = (picture.width, picture.height);
    write_png_gray(&paths[1], width, height, &prediction.levels())?;
    write_png_rgb(&paths[2], &overlay(picture, &prediction.mask))?;
    Ok(())
}

/// The share of the image that each label covers, as a table.
fn shares(labels: &ClassMap, classes: &ClassList) -> String {
    let row = |id: u8| {
        let share = 100.0 * labels.count(id) as f64 / labels.data.len().max(1) as f64;
        let name = classes.name(id).to_owned();
        vec![name, id.to_string(), format!("{share:.2} %")]
    };
    let rows: Vec<Vec<String>> = labels.ids().into_iter().map(row).collect();
    table(&["class", "id", "share"], &rows)
}
