//! Writes a plan into a new folder, which is complete or absent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde_json::json;
use vlsm_image::{ImageError, write_png_gray, write_png_mask};

use crate::error::{PrepareError, Result};
use crate::plan::{Case, Cases, Labels, Picture, Plan, Target};
use crate::scan::read_scan;
use vlsm_data::{Annotation, DataError, Split, describe, write_annotations};
use vlsm_image::fs::{write_atomic_bytes, write_folder};

/// What [`prepare`](crate::prepare()) wrote; each array is for train, val and test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Number of images.
    pub images: [usize; 3],
    /// Number of samples: masks, or classes present in each image.
    pub samples: [usize; 3],
    /// Number of masks without foreground, or of images without any class.
    pub empty: [usize; 3],
    /// Where the splits come from, as text.
    pub rule: String,
}

/// Counts finished images.
struct Progress<'a> {
    done: AtomicUsize,
    total: usize,
    tell: &'a (dyn Fn(usize, usize) + Sync),
}

/// Writes the data set into the new folder `out`.
pub(super) fn write(
    plan: Plan,
    out: &Path,
    tell: impl Fn(usize, usize) + Sync,
) -> Result<Prepared> {
    write_folder(out, |part| write_into(plan, part, &tell))
}

fn write_into(plan: Plan, root: &Path, tell: &(dyn Fn(usize, usize) + Sync)) -> Result<Prepared> {
    let count = |lengths: [usize; 3]| Progress {
        done: AtomicUsize::new(0),
        total: lengths.iter().sum(),
        tell,
    };
    let mut prepared = Prepared {
        images: [0; 3],
        samples: [0; 3],
        empty: [0; 3],
        rule: plan.rule,
    };
    match plan.cases {
        Cases::Prompted { splits, grey } => {
            let progress = count(splits.each_ref().map(Vec::len));
            for (number, (split, cases)) in Split::ALL.into_iter().zip(splits).enumerate() {
                let write = |case: &Case<_>| write_prompted(case, root, grey);
                let entries = progress.over(&cases, write)?;
                let images = entries.iter().filter(|entries| !entries.is_empty());
                prepared.images[number] = images.clone().count();
                let names: Vec<&str> = images.map(|entries| entries[0].img_name.as_str()).collect();
                write_list(&root.join("splits"), split, &names)?;
                let entries = entries.concat();
                prepared.samples[number] = entries.len();
                let is_empty = |entry: &&Annotation| entry.bbox.is_none();
                prepared.empty[number] = entries.iter().filter(is_empty).count();
                if !entries.is_empty() {
                    let folder = root.join("anns");
                    make_folder(&folder)?;
                    write_annotations(&folder.join(format!("{split}.json")), &entries)?;
                }
            }
        }
        Cases::Classes {
            splits,
            names,
            ignore,
        } => {
            let progress = count(splits.each_ref().map(Vec::len));
            for (number, (split, cases)) in Split::ALL.into_iter().zip(splits).enumerate() {
                let folder = root.join(split.name());
                let present = progress.over(&cases, |case| write_labels(case, &folder, ignore))?;
                prepared.images[number] = present.len();
                prepared.samples[number] = present.iter().sum();
                prepared.empty[number] = present.iter().filter(|&&ids| ids == 0).count();
            }
            let classes = json!({ "classes": names, "ignore_index": ignore });
            let text = format!("{classes:#}\n");
            write_atomic_bytes(&root.join("classes.json"), text.as_bytes())?;
        }
    }
    Ok(prepared)
}

impl Progress<'_> {
    /// Results of `write` for each case, computed on all cores. Of several errors the first in order is reported.
    fn over<M: Sync + Send, T: Send>(
        &self,
        cases: &[Case<M>],
        write: impl Fn(&Case<M>) -> Result<T> + Sync,
    ) -> Result<Vec<T>>
    where
        Case<M>: Sync,
    {
        let written: Vec<Result<T>> = cases
            .par_iter()
            .map(|case| {
                let written = write(case);
                (self.tell)(self.done.fetch_add(1, Ordering::Relaxed) + 1, self.total);
                written
            })
            .collect();
        written.into_iter().collect()
    }
}

/// Writes an image and its masks; an image with no target present is not written.
fn write_prompted(case: &Case<Vec<Target>>, root: &Path, grey: bool) -> Result<Vec<Annotation>> {
    let image = case.image.read()?;
    let mut entries = Vec::with_capacity(case.masks.len());
    for target in &case.masks {
        let mask = (target.read)(&target.file)?;
        same_size(
            (&case.image, (image.width, image.height)),
            (&target.file, (mask.width, mask.height)),
        )?;
        if target.only_if_present && mask.foreground() == 0 {
            continue;
        }
        let path = root.join("masks").join(&target.name);
        make_folder(path.parent().unwrap_or(root))?;
        write_png_mask(&path, &mask)?;
        let mut description = describe(target.class, &image, &mask);
        if grey {
            description.colour = None;
        }
        let mut entry = Annotation::new(case.name.clone(), target.name.clone(), &description);
        entry.group = target.group.to_string();
        entries.push(entry);
    }
    if !entries.is_empty() {
        write_image(case, &root.join("images"))?;
    }
    Ok(entries)
}

/// Writes an image and its class ids, both under the image's name, and counts the classes present.
fn write_labels(case: &Case<Labels>, folder: &Path, ignore: u8) -> Result<usize> {
    let labels = &case.masks;
    let map = (labels.read)(&labels.file)?;
    same_size(
        (&case.image, case.image.size()?),
        (&labels.file, (map.width, map.height)),
    )?;
    let path = folder.join("masks").join(&case.name).with_extension("png");
    make_folder(path.parent().unwrap_or(folder))?;
    write_png_gray(&path, map.width, map.height, &map.data)?;
    write_image(case, &folder.join("images"))?;
    Ok(map.ids().into_iter().filter(|&id| id != ignore).count())
}

/// Writes an image into `folder`. Files are copied, which takes no space twice on file systems that can share blocks. A hard
/// link would let an edit of the data set change the download.
fn write_image<M>(case: &Case<M>, folder: &Path) -> Result<()> {
    make_folder(folder)?;
    let target = folder.join(&case.name);
    match &case.image {
        Picture::Scan(source) => {
            let scan = read_scan(source)?;
            Ok(write_png_gray(
                &target,
                scan.width,
                scan.height,
                &scan.data,
            )?)
        }
        Picture::File(source) => {
            fs::copy(source, &target)
                .map_err(|e| fault(&target, e, "free some disk space and run again"))?;
            Ok(())
        }
    }
}

/// Writes a split's image names, one per line: `splits/train.txt`.
fn write_list(folder: &Path, split: Split, names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    make_folder(folder)?;
    let text = names.join("\n") + "\n";
    Ok(write_atomic_bytes(
        &folder.join(format!("{split}.txt")),
        text.as_bytes(),
    )?)
}

fn same_size(
    (image, image_size): (&Picture, (usize, usize)),
    (mask, mask_size): (&Path, (usize, usize)),
) -> Result<()> {
    if image_size == mask_size {
        return Ok(());
    }
    Err(DataError::SizeMismatch {
        image: image.path().to_path_buf(),
        image_size,
        mask: mask.to_path_buf(),
        mask_size,
    }
    .into())
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|e| fault(folder, e, "choose a folder that you may write to"))
}

fn fault(path: &Path, source: io::Error, fix: &'static str) -> PrepareError {
    ImageError::Write {
        path: PathBuf::from(path),
        source: source.into(),
        fix,
    }
    .into()
}
