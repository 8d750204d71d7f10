//! Tables, and their files: Markdown, LaTeX and HTML.

use std::path::Path;

use vlsm_image::write_atomic_bytes;

use crate::error::Result;
use crate::text::columns;

/// Several tables under a heading.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// The heading.
    pub title: String,
    /// One sentence below it.
    pub lead: String,
    /// The tables.
    pub sheets: Vec<Sheet>,
}

/// A table.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    /// The heading.
    pub title: String,
    /// The names of the columns.
    pub header: Vec<String>,
    /// Number of leading columns that hold words; the others hold numbers.
    pub words: usize,
    /// The rows. A row whose first cell is empty belongs to the one above it.
    pub rows: Vec<Vec<SheetCell>>,
    /// A note under the table.
    pub note: String,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SheetCell {
    /// Its text.
    pub text: String,
    /// Whether it is emphasised.
    pub bold: bool,
}

impl From<&str> for SheetCell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for SheetCell {
    fn from(text: String) -> Self {
        Self { text, bold: false }
    }
}

impl Document {
    /// Writes the document next to `path` as `.md`, `.tex` and `.html`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        for (extension, text) in [
            ("md", self.markdown()),
            ("tex", self.latex()),
            ("html", self.html()),
        ] {
            write_atomic_bytes(&path.with_extension(extension), text.as_bytes())?;
        }
        Ok(())
    }

    /// As plain text for a terminal. Bold cells have a `*` before them.
    pub fn text(&self) -> String {
        let sheet = |sheet: &Sheet| {
            let bold = sheet.rows.iter().flatten().any(|cell| cell.bold);
            let star = if bold { " An asterisk means bold." } else { "" };
            let (title, note) = (&sheet.title, &sheet.note);
            format!("\n{title}\n\n{}{note}{star}\n", sheet.text())
        };
        self.sheets.iter().map(sheet).collect()
    }
}

impl Sheet {
    fn text(&self) -> String {
        let star = |cell: &SheetCell| format!("{}{}", if cell.bold { "*" } else { "" }, cell.text);
        let rows = self.rows.iter().map(|row| row.iter().map(star).collect());
        let lines: Vec<Vec<String>> = std::iter::once(self.header.clone()).chain(rows).collect();
        columns(&lines, self.words)
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
