//! `vlsm predict`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use vlsm::{ClassList, Prediction, Segmenter, overlay, overlay_labels};
use vlsm_image::{ClassMap, RgbImage, read_image, write_png_gray, write_png_mask, write_png_rgb};
use vlsm_train::evaluate::file_name;

use super::shared::{bullet_list, make_folder, segmenter};
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
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --prompt \"a car\" --prompt \"the sky\" street.jpg -o out
  vlsm predict --base CIDAS/clipseg-rd64-refined \\
      --adapter runs/polyp/adapter.safetensors \\
      --prompt \"a polyp\" *.jpg -o out
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
    /// An adapter file; without one the base is used as it is (zero-shot).
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// What to segment; can be given several times.
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
    /// Device: cpu, or one that this build supports (vulkan, metal, webgpu, cuda, rocm).
    #[arg(long, default_value = "cpu")]
    device: String,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let classes = self.class_list()?;
        let segmenter = segmenter(
            &self.base,
            self.adapter.as_deref(),
            self.image_size,
            &self.device,
        )?;
        make_folder(&self.out)?;
        let mut names = Names::default();
        let mut failed = 0;
        for path in &self.images {
            let done = match &classes {
                Some(classes) => self.label(&segmenter, path, classes, &mut names),
                None => self.predict(&segmenter, path, &mut names),
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
        if self.images.len() > 1 {
            note(&format!("{failed} of {} images failed", self.images.len()));
        }
        Ok(ExitCode::FAILURE)
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

    fn label(
        &self,
        segmenter: &Segmenter,
        path: &Path,
        classes: &ClassList,
        names: &mut Names,
    ) -> Result<()> {
        let picture = read_image(path)?;
        let image = segmenter.set_image(&picture)?;
        let labels = segmenter.segment(&image, classes)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = names.unique(&file_name(&stem), "labels");
        let file = |what: &str| self.out.join(format!("{name}{what}.png"));
        let paths = [file(""), file("-overlay")];
        write_png_gray(&paths[0], labels.width, labels.height, &labels.data)?;
        write_png_rgb(&paths[1], &overlay_labels(&picture, &labels, classes))?;
        print(&format!(
            "{}:\n{}{}",
            path.display(),
            shares(&labels, classes),
            bullet_list(&paths)
        ))
        .map_err(Into::into)
    }

    fn predict(&self, segmenter: &Segmenter, path: &Path, names: &mut Names) -> Result<()> {
        let picture = read_image(path)?;
        let image = segmenter.set_image(&picture)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        for prediction in segmenter.predict_all(&image, &self.prompt)? {
            let prompt = &prediction.prompt;
            let name = names.unique(&file_name(&stem), &file_name(prompt));
            let paths = write(&self.out, &name, &picture, &prediction)?;
            let share = 100.0 * prediction.share();
            print(&format!(
                "{}: `{prompt}` covers {share:.2} % of the image\n{}",
                path.display(),
                bullet_list(&paths)
            ))?;
        }
        Ok(())
    }
}

/// Writes mask, probability map and overlay, and returns their paths.
fn write(
    folder: &Path,
    name: &str,
    picture: &RgbImage,
    prediction: &Prediction,
) -> Result<[PathBuf; 3]> {
    let path = |what: &str| folder.join(format!("{name}.{what}.png"));
    let paths = [path("mask"), path("prob"), path("overlay")];
    write_png_mask(&paths[0], &prediction.mask)?;
    let (width, height) = (picture.width, picture.height);
    write_png_gray(&paths[1], width, height, &prediction.levels())?;
    write_png_rgb(&paths[2], &overlay(picture, &prediction.mask))?;
    Ok(paths)
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

/// File names used so far, so that no result of a call overwrites another.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// `STEM.PROMPT`, with a number at the end if that name is taken. Names that differ only in case
    /// count as the same name, as they do on some file systems.
    fn unique(&mut self, stem: &str, prompt: &str) -> String {
        let mut name = format!("{stem}.{prompt}");
        let mut number = 2;
        while !self.0.insert(name.to_lowercase()) {
            name = format!("{stem}.{prompt}-{number}");
            number += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn names_never_clash() {
        let mut names = Names::default();
        assert_eq!(names.unique("a", "x"), "a.x");
        assert_eq!(names.unique("a", "y"), "a.y");
        assert_eq!(names.unique("A", "x"), "A.x-2");
        assert_eq!(names.unique("a", "x"), "a.x-3");
        assert_eq!(names.unique("a", "x-2"), "a.x-2-2");
    }
}
