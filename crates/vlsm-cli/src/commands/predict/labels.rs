//! Labels of whole images.

use anyhow::Result;
use vlsm::{ClassList, Segmenter, overlay_labels};
use vlsm_image::{ClassMap, write_png_gray, write_png_rgb};

use super::manifest::{Manifest, Planned, Row};
use crate::commands::shared::bullet_list;
use crate::output::{print, table};

/// Labels of a whole image.
pub(super) fn label(
    segmenter: &Segmenter,
    planned: &Planned,
    classes: &ClassList,
    first_page: bool,
    manifest: &mut Manifest,
) -> Result<()> {
    let Planned {
        row,
        image: path,
        files,
    } = planned;
    let picture = segmenter.read_image(path, first_page)?;
    let image = segmenter.set_image(&picture)?;
    let labels = segmenter.segment(&image, classes)?;
    write_png_gray(&files[0], labels.width, labels.height, &labels.data)?;
    write_png_rgb(&files[1], &overlay_labels(&picture, &labels, classes))?;
    let pixels = labels.data.len().max(1);
    let labelled = pixels - labels.count(classes.none());
    let row = Row {
        area_pixels: labelled,
        area_share: labelled as f64 / pixels as f64,
        found: labelled > 0,
        ..row.clone()
    };
    if !manifest.add(&row)? {
        print(&format!(
            "{}:\n{}{}",
            path.display(),
            shares(&labels, classes),
            bullet_list(files)
        ))?;
    }
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
