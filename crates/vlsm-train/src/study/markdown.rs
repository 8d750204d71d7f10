//! Tables in Markdown.

use super::document::{Document, Sheet, SheetCell};

impl Document {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let sheets = self.sheets.iter().map(Sheet::markdown);
        format!("# {}\n\n{}\n", self.title, self.lead) + &sheets.collect::<String>()
    }
}

impl Sheet {
    pub(super) fn markdown(&self) -> String {
        let escaped = |text: &str| text.replace('|', "\\|");
        let cell = |cell: &SheetCell| match cell.bold {
            true => format!("**{}**", escaped(&cell.text)),
            false => escaped(&cell.text),
        };
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let header = self.header.iter().map(|name| escaped(name));
        let rule = (0..self.header.len()).map(|column| match column < self.words {
            true => "---".to_owned(),
            false => "--:".to_owned(),
        });
        let rows = self
            .rows
            .iter()
            .map(|row| line(row.iter().map(cell).collect()));
        format!(
            "\n## {}\n\n{}{}{}\n{}\n",
            self.title,
            line(header.collect()),
            line(rule.collect()),
            rows.collect::<String>(),
            self.note
        )
    }
}
