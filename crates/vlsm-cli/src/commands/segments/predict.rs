//! `vlsm segments predict`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use vlsm_image::{ClassNames, Mask, RgbImage, read_class_map, read_image};
use vlsm_models::segments::crops;
use vlsm_train::segments::{Named, nearest};

use super::whole::{Whole, WholeOptions, class_list};
use super::{Loaded, ModelOptions, percent, shown};
use crate::commands::shared::to_json;
use crate::output::{print, table, thousands};

/// Proposals of one pass.
const BATCH: usize = 32;

/// Name the segments of an image.
///
/// MASK is a PNG of the image's size, in which each number but those of --ignore is a segment: a mask
/// of ids, or a binary one. Each segment gets the most similar of the names.
///
/// With --proposals there is no MASK: a segmenter finds parts of the image, the CLIP names them, and
/// every pixel gets a label. With -o, IMAGE.labels.png holds the ids, which are those of --classes or
/// the order of the names from 0, and IMAGE.labels-overlay.png shows them in colour.
#[derive(clap::Args)]
#[command(override_usage = "vlsm segments predict IMAGE MASK [OPTIONS]
       vlsm segments predict IMAGE --proposals BASE [OPTIONS]")]
#[command(after_help = "Examples:
  vlsm segments predict street.png parts.png \\
      --base openai/clip-vit-base-patch16 --name car --name \"traffic sign\"
  vlsm segments predict street.png parts.png --adapter runs/opendas \\
      --classes camvid/classes.json --json
  vlsm segments predict street.png --adapter runs/opendas \\
      --proposals-adapter runs/camvid_dense --classes camvid/classes.json -o out")]
pub(crate) struct Args {
    /// The image.
    image: PathBuf,
    /// The segments' ids.
    #[arg(required_unless_present = "segmenter", conflicts_with = "segmenter")]
    mask: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    whole: WholeOptions,
    /// A name to choose from; can be given several times.
    #[arg(long, value_name = "NAME", required_unless_present = "classes")]
    name: Vec<String>,
    /// The names of a `classes.json`, to choose from.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// An id of the mask that is no segment; can be given several times.
    #[arg(
        long,
        value_name = "ID",
        default_value = "0",
        conflicts_with = "segmenter"
    )]
    ignore: Vec<u8>,
    /// The folder to write the labels of a whole image to.
    #[arg(
        short = 'o',
        long = "output",
        value_name = "DIR",
        requires = "segmenter"
    )]
    out: Option<PathBuf>,
    /// Overwrite existing files.
    #[arg(long, requires = "out")]
    force: bool,
    /// Print JSON instead of a table.
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
        let Some(mask) = &self.mask else {
            let classes = class_list(&self.name, self.classes.as_deref())?;
            let whole = Whole {
                options: &self.whole,
                loaded: &self.model.load()?,
                device: &self.model.device,
                batch: BATCH,
            };
            let out = self.out.as_deref();
            return whole.predict(&self.image, classes, out, self.force, self.json);
        };
        let image = read_image(&self.image)?;
        let masks = self.masks(mask, &image)?;
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
    fn masks(&self, mask: &Path, image: &RgbImage) -> Result<Vec<(u8, Mask)>> {
        let map = read_class_map(mask)?;
        if (map.width, map.height) != (image.width, image.height) {
            bail!(
                "mask `{}` is {}x{} but image `{}` is {}x{}; give a mask of the image's size",
                shown(mask),
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
                shown(mask)
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
