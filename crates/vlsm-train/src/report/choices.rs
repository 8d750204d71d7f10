//! A page about choices among objects, as `vlsm demo --system llm-wrapper` makes it.

use std::path::Path;

use maud::{Markup, html};
use vlsm_image::{Mask, RgbImage, fit_image, overlay, resize_mask, write_atomic_bytes};

use super::page::shell;
use super::pictures::{PICTURE, picture, shown};
use super::sections::section;
use crate::error::Result;

/// The content of the page.
#[derive(Debug, Clone, Default)]
pub struct ChoiceReport {
    /// The title.
    pub title: String,
    /// The result in two sentences.
    pub lead: String,
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows of the table.
    pub rows: Vec<Vec<String>>,
    /// Expressions with pictures.
    pub cases: Vec<ChoiceCase>,
    /// How the numbers came about, a paragraph each.
    pub notes: Vec<String>,
}

/// An expression, and what was chosen.
#[derive(Debug, Clone)]
pub struct ChoiceCase {
    /// The expression.
    pub expression: String,
    /// The image.
    pub image: RgbImage,
    /// Masks with their names: the object, and answers. Without a mask the answer is empty.
    pub masks: Vec<(String, Option<Mask>)>,
}

impl ChoiceReport {
    /// Writes the page, whole or not at all. It needs no other file.
    ///
    /// # Errors
    /// If a picture cannot be encoded or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let cases: Vec<Markup> = self.cases.iter().map(case).collect::<Result<_>>()?;
        let sections = html! {
            (section("Results", html! {
                div.scroll { table {
                    thead { tr { @for name in &self.header { th { (name) } } } }
                    tbody { @for row in &self.rows { tr { @for cell in row { td { (cell) } } } } }
                } }
            }))
            (section("Expressions", html! { @for case in &cases { (case) } }))
            (section("How", html! { @for note in &self.notes { p { (note) } } }))
        };
        let page = shell(&self.title, &self.lead, sections, html! {});
        Ok(write_atomic_bytes(path, page.into_string().as_bytes())?)
    }
}

fn case(case: &ChoiceCase) -> Result<Markup> {
    let image = fit_image(&case.image, PICTURE);
    let mut pictures = Vec::with_capacity(case.masks.len());
    for (name, mask) in &case.masks {
        let masked = match mask {
            Some(mask) => overlay(&image, &resize_mask(mask, image.width, image.height)),
            None => image.clone(),
        };
        pictures.push((name.as_str(), picture(&masked)?));
    }
    let plain = picture(&image)?;
    Ok(html! {
        article.case {
            p { strong { "“" (case.expression) "”" } }
            div.pictures style={ "--n:" (1 + pictures.len()) } {
                (shown(&plain, "the image", html! { "image" }))
                @for (name, data) in &pictures {
                    (shown(data, &format!("{name}: the mask on the image"), html! { (name) }))
                }
            }
        }
    })
}
