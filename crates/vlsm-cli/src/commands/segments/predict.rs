//! `vlsm segments predict`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use vlsm_image::{ClassNames, Mask, RgbImage, read_class_map, read_image};
use vlsm_models::segments::crops;
use vlsm_train::segments::{Named, nearest};

use super::{Loaded, ModelOptions, percent, shown};
use crate::commands::shared::to_json;
use crate::output::{print, table, thousands};

/// Name the segments of an image.
///
/// MASK is a PNG of the image's size, in which each number but those of --ignore is a segment: a mask
/// of ids, or a binary one. Each segment gets the most similar of the names.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm segments predict street.png parts.png \\
      --base openai/clip-vit-base-patch16 --name car --name \"traffic sign\"
  vlsm segments predict street.png parts.png --adapter runs/opendas \\
      --classes camvid/classes.json --json")]
pub(crate) struct Args {
    /// The image.
    image: PathBuf,
    /// The segments' ids.
    mask: PathBuf,
    #[command(flatten)]
    model: ModelOptions,
    /// A name to choose from; can be given several times.
    #[arg(long, value_name = "NAME", required_unless_present = "classes")]
    name: Vec<String>,
    /// The names of a `classes.json`, to choose from.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// An id of the mask that is no segment; can be given several times.
    #[arg(long, value_name = "ID", default_value = "0")]
    ignore: Vec<u8>,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    json: bool,
}

/// A segment with its names.
#[derive(Serialize)]
struct Segment {
    id: u8,
    pixels: usize,
    /// Left, top, right, bottom, the last two exclusive.
    #[serde(rename = "box")]
    bounds: [usize; 4],
    names: Vec<Choice>,
}

#[derive(Serialize)]
struct Choice {
    name: String,
    probability: f32,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let names = self.names()?;
        let image = read_image(&self.image)?;
        let masks = self.masks(&image)?;
        let loaded = self.model.load()?;
        let ranked = name(&loaded, &image, &masks, &names)?;
        let segments: Vec<Segment> = masks
            .iter()
            .zip(ranked)
            .map(|((id, mask), ranked)| Segment {
                id: *id,
                pixels: mask.foreground(),
                bounds: mask.bounding_box().unwrap_or_default(),
                names: ranked
                    .into_iter()
                    .map(|Named { class, probability }| Choice {
                        name: names[class].clone(),
                        probability,
                    })
                    .collect(),
            })
            .collect();
        print(&match self.json {
            true => to_json(&segments)?,
            false => text(&segments),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// The names to choose from, each once.
    fn names(&self) -> Result<Vec<String>> {
        let mut names = self.name.clone();
        if let Some(path) = &self.classes {
            names.extend(ClassNames::read(path)?.names.into_iter().flatten());
        }
        if names.is_empty() {
            bail!(
                "there is no name to choose from; add names to the file of --classes, or give --name"
            );
        }
        let mut seen = BTreeSet::new();
        match names
            .iter()
            .find(|name| !seen.insert(name.trim().to_lowercase()))
        {
            Some(twice) => {
                bail!("`{twice}` is given twice (CLIP does not see case); leave one out")
            }
            None => Ok(names),
        }
    }

    /// The segments' masks by id.
    fn masks(&self, image: &RgbImage) -> Result<Vec<(u8, Mask)>> {
        let map = read_class_map(&self.mask)?;
        if (map.width, map.height) != (image.width, image.height) {
            bail!(
                "mask `{}` is {}x{} but image `{}` is {}x{}; give a mask of the image's size",
                shown(&self.mask),
                map.width,
                map.height,
                shown(&self.image),
                image.width,
                image.height
            );
        }
        let ids = map.ids().into_iter();
        let ids = ids.filter(|id| !self.ignore.contains(id));
        let masks: Vec<(u8, Mask)> = ids.map(|id| (id, map.mask_of(id, None))).collect();
        if masks.is_empty() {
            bail!(
                "mask `{}` is empty: all its pixels have ids that are ignored; see --ignore",
                shown(&self.mask)
            );
        }
        Ok(masks)
    }
}

fn name(
    loaded: &Loaded,
    image: &RgbImage,
    masks: &[(u8, Mask)],
    names: &[String],
) -> Result<Vec<Vec<Named>>> {
    let model = &loaded.model;
    let queries = model.embed_names(&loaded.base.tokenizer, names, &loaded.templates());
    let queries = queries.context("cannot encode the names")?;
    let segments: Vec<_> = masks.iter().map(|(_, mask)| (image, mask)).collect();
    let pixels = crops(&segments, &loaded.base.preprocessing, &model.device())?;
    Ok(nearest(model, model.embed_crops(pixels), queries))
}

fn text(segments: &[Segment]) -> String {
    let choice = |choice: Option<&Choice>| match choice {
        Some(Choice { name, probability }) => {
            let probability = percent(Some(f64::from(*probability)));
            [name.clone(), probability]
        }
        None => ["-".to_owned(), "-".to_owned()],
    };
    let rows: Vec<Vec<String>> = segments
        .iter()
        .map(|segment| {
            let [left, top, right, bottom] = segment.bounds;
            let mut row = vec![
                segment.id.to_string(),
                thousands(segment.pixels),
                format!("{left},{top} to {right},{bottom}"),
            ];
            row.extend(choice(segment.names.first()));
            row.extend(choice(segment.names.get(1)));
            row
        })
        .collect();
    let header = ["id", "pixels", "box", "name", "%", "next", "%"];
    table(&header, &rows)
}
