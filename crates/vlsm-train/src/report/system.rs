//! A page with a table and pictures, as `vlsm demo --system` makes it.

use std::path::Path;

use maud::{Markup, html};
use vlsm_image::{RgbImage, write_atomic_bytes};

use super::page::shell;
use super::pictures::{picture, shown};
use super::sections::section;
use crate::error::Result;

/// The content of the page.
#[derive(Debug, Clone, Default)]
pub struct SystemReport {
    /// The title.
    pub title: String,
    /// The result in two sentences.
    pub lead: String,
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows of the table.
    pub rows: Vec<Vec<String>>,
    /// The heading of the cases.
    pub heading: String,
    /// Examples with pictures.
    pub cases: Vec<SystemCase>,
    /// How the numbers came about, a paragraph each.
    pub notes: Vec<String>,
}

/// An example.
#[derive(Debug, Clone)]
pub struct SystemCase {
    /// What it is about.
    pub title: String,
    /// Pictures and their captions.
    pub pictures: Vec<(String, RgbImage)>,
}

impl SystemReport {
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
            (section(&self.heading, html! { @for case in &cases { (case) } }))
            (section("How", html! { @for note in &self.notes { p { (note) } } }))
        };
        let page = shell(&self.title, &self.lead, sections, html! {});
        Ok(write_atomic_bytes(path, page.into_string().as_bytes())?)
    }
}

fn case(case: &SystemCase) -> Result<Markup> {
    let mut pictures = Vec::with_capacity(case.pictures.len());
    for (caption, image) in &case.pictures {
        pictures.push((caption.as_str(), picture(image)?));
    }
    Ok(html! {
        article.case {
            p { strong { (case.title) } }
            div.pictures style={ "--n:" (pictures.len()) } {
                @for (caption, data) in &pictures {
                    (shown(data, &format!("{}: {caption}", case.title), html! { (caption) }))
                }
            }
        }
    })
}
