//! Writes drawn data sets to disk.

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;
use vlsm_data::{Annotation, DataError, GenerateConfig, Result, Split, write_annotations};
use vlsm_image::fs::{write_atomic_bytes, write_folder};
use vlsm_image::{ImageError, write_png_gray, write_png_mask, write_png_rgb};

use crate::drawing::DrawnReferent;
use crate::drawing_id::{Domain, DrawingId};

/// Writes a drawn data set into the new folder `root`, which is complete or absent, in the published format: `images/` and `masks/` as PNG, then `anns/*.json`. It has the
/// samples that `builtin:NAME` draws in its first epoch. `progress` is called for each image, from any thread.
///
/// # Errors
/// If a file cannot be written.
pub fn write_dataset(
    domain: Domain,
    config: &GenerateConfig,
    root: &Path,
    progress: impl Fn() + Sync,
) -> Result<()> {
    write_folder(root, |root| write_into(domain, config, root, &progress))
}

/// Id of the background in [`write_classes`].
const BACKGROUND: u8 = 255;

/// Writes the images of [`write_dataset`] into the new folder `root`, which is complete or absent, with a mask of class ids for each:
/// `train/images`, `train/masks` and so on, and `classes.json`. In scenes a class is a colour and a shape, such as "red circle", and the
/// background is ignored; in streets the pixels between two classes are.
///
/// # Errors
/// If the domain has no [classes](Domain::class_names) or a file cannot be written.
pub fn write_classes(
    domain: Domain,
    config: &GenerateConfig,
    root: &Path,
    progress: impl Fn() + Sync,
) -> Result<()> {
    let counts = [config.train, config.val, config.test];
    let no_classes = || DataError::Config {
        field: "classes",
        reason: format!(
            "`{}` has no classes; `scenes` and `street` do",
            domain.name()
        ),
    };
    let names = domain.class_names().ok_or_else(no_classes)?;
    write_folder(root, |root| {
        let splits = Split::ALL.into_iter().zip(counts);
        // Without images a split has no folder, which a reader would refuse.
        for (split, count) in splits.filter(|(_, count)| *count > 0) {
            let folders = ["images", "masks"].map(|kind| root.join(split.name()).join(kind));
            for folder in &folders {
                create(folder)?;
            }
            let written = (0..count).into_par_iter().map(|index| {
                let id = DrawingId::of(domain, config, split, index);
                let drawn = id.draw_classes(BACKGROUND);
                let (image, ids) = drawn.ok_or_else(no_classes)?;
                let [images, masks] = folders.each_ref();
                let name = format!("{}.png", id.name());
                write_png_rgb(&images.join(&name), &image)?;
                write_png_gray(&masks.join(&name), id.side, id.side, &ids)?;
                progress();
                Ok(())
            });
            written.collect::<Result<()>>()?;
        }
        let classes = json!({ "classes": names, "ignore_index": BACKGROUND });
        write_atomic_bytes(
            &root.join("classes.json"),
            format!("{classes:#}\n").as_bytes(),
        )?;
        Ok(())
    })
}

fn create(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| {
        let error = ImageError::Write {
            path: path.into(),
            source: source.into(),
            fix: "choose another folder",
        };
        error.into()
    })
}

fn write_into(
    domain: Domain,
    config: &GenerateConfig,
    root: &Path,
    progress: &(impl Fn() + Sync),
) -> Result<()> {
    for folder in ["images", "masks", "anns"] {
        create(&root.join(folder))?;
    }
    let counts = [config.train, config.val, config.test];
    for (split, count) in Split::ALL.into_iter().zip(counts) {
        let drawings = (0..count).into_par_iter().map(|index| {
            let id = DrawingId::of(domain, config, split, index);
            let annotations = write_drawing(&id, root)?;
            progress();
            Ok(annotations)
        });
        let annotations: Vec<Vec<Annotation>> = drawings.collect::<Result<_>>()?;
        let file = root.join("anns").join(format!("{split}.json"));
        write_annotations(&file, &annotations.concat())?;
    }
    Ok(())
}

fn write_drawing(id: &DrawingId, root: &Path) -> Result<Vec<Annotation>> {
    let name = format!("{}_{}", id.split, id.name());
    let drawing = id.draw();
    let img_name = format!("{name}.png");
    write_png_rgb(&root.join("images").join(&img_name), &drawing.image)?;
    let count = drawing.referents.len();
    let write = |(number, drawn): (usize, DrawnReferent)| {
        let mask_name = drawn.referent.name(&name, number, count) + ".png";
        write_png_mask(&root.join("masks").join(&mask_name), &drawn.mask)?;
        Ok(Annotation {
            img_name: img_name.clone(),
            mask_name,
            bbox: drawn.mask.bounding_box(),
            group: drawn.referent.group,
            prompts: drawn.referent.prompts,
            oracle: drawn.referent.oracle,
        })
    };
    drawing
        .referents
        .into_iter()
        .enumerate()
        .map(write)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open;
    use vlsm_data::{DataConfig, Dataset};

    #[test]
    fn classes_are_the_objects_of_the_same_scenes() {
        let folder = tempfile::tempdir().unwrap();
        let config = GenerateConfig {
            seed: 3,
            side: 96,
            train: 4,
            val: 1,
            test: 2,
        };
        let [classes, scenes] = ["classes", "scenes"].map(|name| folder.path().join(name));
        write_classes(Domain::Scenes, &config, &classes, || {}).unwrap();
        write_dataset(Domain::Scenes, &config, &scenes, || {}).unwrap();
        let image = |path: &Path| vlsm_image::read_image(path).unwrap();
        assert_eq!(
            image(&classes.join("test/images/scenes_00001.png")),
            image(&scenes.join("images/test_scenes_00001.png"))
        );
        let dataset = Dataset::open(&DataConfig::new(&classes)).unwrap();
        let drawn = Dataset::open(&DataConfig::new(&scenes)).unwrap();
        // A prompt of colour and shape means all pixels of that class.
        let mut compared = 0;
        for split in [Split::Val, Split::Test] {
            for sample in dataset.split(split) {
                let image = sample.name.split('.').next().unwrap();
                let same = drawn.split(split).iter().find(|other| {
                    let named = other.prompts.get("p6").unwrap()[0].ends_with(&sample.group);
                    other.name.contains(image) && other.group == "colour and shape" && named
                });
                if let Some(other) = same {
                    assert_eq!(sample.read(None).unwrap().1, other.read(None).unwrap().1);
                    compared += 1;
                }
            }
        }
        assert!(compared > 0);
    }

    #[test]
    fn classes_of_a_street_are_those_of_its_targets() {
        let folder = tempfile::tempdir().unwrap();
        let config = GenerateConfig {
            seed: 3,
            side: 96,
            train: 0,
            val: 0,
            test: 3,
        };
        let [classes, street] = ["classes", "street"].map(|name| folder.path().join(name));
        write_classes(Domain::Street, &config, &classes, || {}).unwrap();
        write_dataset(Domain::Street, &config, &street, || {}).unwrap();
        let dataset = Dataset::open(&DataConfig::new(&classes)).unwrap();
        let drawn = Dataset::open(&DataConfig::new(&street)).unwrap();
        assert_eq!(dataset.class_names().unwrap().len(), 8);
        for sample in &drawn.test {
            let image = sample.name.split('.').next().unwrap();
            let image = image.trim_start_matches("test_");
            let of_class = |other: &&vlsm_data::Sample| {
                image.starts_with(other.name.split('.').next().unwrap())
                    && other.group == sample.group
            };
            let other = dataset.test.iter().find(of_class).unwrap();
            assert_eq!(
                sample.read(None).unwrap(),
                other.read(None).unwrap(),
                "{}",
                sample.name
            );
        }
        let none = folder.path().join("none");
        let error = write_classes(Domain::Ultrasound, &config, &none, || {}).unwrap_err();
        assert!(error.to_string().contains("ultrasound"), "{error}");
        assert!(!none.exists());
    }

    #[test]
    fn written_data_sets_equal_drawn_ones() {
        let folder = tempfile::tempdir().unwrap();
        let config = GenerateConfig {
            seed: 3,
            side: 96,
            train: 3,
            val: 1,
            test: 2,
        };
        for domain in Domain::ALL {
            let root = folder.path().join(domain.name());
            write_dataset(domain, &config, &root, || {}).unwrap();
            let written = Dataset::open(&DataConfig::new(&root)).unwrap();
            let mut drawn = DataConfig::new(format!("builtin:{}", domain.name()));
            drawn.generate = config.clone();
            let drawn = open(&drawn).unwrap();
            for split in Split::ALL {
                let (written, drawn) = (written.split(split), drawn.split(split));
                assert_eq!(written.len(), drawn.len());
                for (written, drawn) in written.iter().zip(drawn) {
                    assert_eq!(written.prompts, drawn.prompts);
                    assert_eq!(written.group, drawn.group);
                    assert_eq!(written.oracle, drawn.oracle);
                    assert_eq!(written.read(None).unwrap(), drawn.read(None).unwrap());
                }
            }
        }
    }
}
