//! Tables for the terminal, Markdown, LaTeX and HTML.

use std::path::Path;

use maud::{Markup, html};
use vlsm_data::write_atomic_bytes;

use crate::error::Result;
use crate::report::{section, shell};

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
    /// How many columns, the first ones, are words; the others are numbers.
    pub words: usize,
    /// The rows. A row whose first cell is empty belongs to the one above it.
    pub rows: Vec<Vec<SheetCell>>,
    /// What a reader must know.
    pub note: String,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SheetCell {
    /// What it says.
    pub text: String,
    /// Whether it stands out.
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
    /// Writes the document beside `path` as `.md`, `.tex` and `.html`.
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

    /// For a terminal. What is bold elsewhere has a `*` before it.
    pub fn text(&self) -> String {
        let sheet =
            |sheet: &Sheet| format!("\n{}\n\n{}{}\n", sheet.title, sheet.text(), sheet.note);
        self.sheets.iter().map(sheet).collect()
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let sheets = self.sheets.iter().map(Sheet::markdown);
        format!("# {}\n\n{}\n", self.title, self.lead) + &sheets.collect::<String>()
    }

    /// As LaTeX tables for package `booktabs`.
    pub fn latex(&self) -> String {
        let sheets = self.sheets.iter().map(Sheet::latex);
        format!(
            "% {}\n% {}\n% \\usepackage{{booktabs}}\n",
            self.title, self.lead
        ) + &sheets.collect::<String>()
    }

    /// As an HTML page that needs no other file.
    pub fn html(&self) -> String {
        let sheets = html! { @for sheet in &self.sheets { (section(&sheet.title, sheet.html())) } };
        shell(&self.title, &self.lead, sheets).into_string()
    }
}

impl Sheet {
    fn text(&self) -> String {
        let star = |cell: &SheetCell| format!("{}{}", if cell.bold { "*" } else { "" }, cell.text);
        let rows = self.rows.iter().map(|row| row.iter().map(star).collect());
        let lines: Vec<Vec<String>> = std::iter::once(self.header.clone()).chain(rows).collect();
        let length = |text: &String| text.chars().count();
        let width = |column: usize| {
            lines
                .iter()
                .filter_map(|line| line.get(column).map(length))
                .max()
        };
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let line = |line: &Vec<String>| {
            let cells = line.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| {
                if column < self.words {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        lines.iter().map(line).collect()
    }

    fn markdown(&self) -> String {
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

    fn latex(&self) -> String {
        let cell = |cell: &SheetCell| match cell.bold {
            true => format!("\\textbf{{{}}}", latex(&cell.text)),
            false => latex(&cell.text),
        };
        let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
        let grouped = self.rows.iter().any(|row| row[0].text.is_empty());
        let mut rows = String::new();
        for (place, row) in self.rows.iter().enumerate() {
            if grouped && place > 0 && !row[0].text.is_empty() {
                rows += "    \\midrule\n";
            }
            rows += &line(row.iter().map(cell).collect());
        }
        let columns = "l".repeat(self.words) + &"r".repeat(self.header.len() - self.words);
        let header = line(self.header.iter().map(|name| latex(name)).collect());
        format!(
            "\n\\begin{{table}}\n  \\centering\n  \\caption{{{}. {}}}\n  \\begin{{tabular}}{{{columns}}}\n    \
             \\toprule\n{header}    \\midrule\n{rows}    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n",
            latex(&self.title),
            latex(&self.note)
        )
    }

    /// The style of a cell.
    fn class(&self, column: usize, bold: bool) -> Option<&'static str> {
        if column < self.words {
            Some("text")
        } else {
            bold.then_some("best")
        }
    }

    fn html(&self) -> Markup {
        html! {
            div.scroll {
                table {
                    thead {
                        tr {
                            @for (column, name) in self.header.iter().enumerate() {
                                th class=[self.class(column, false)] { (name) }
                            }
                        }
                    }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (column, cell) in row.iter().enumerate() {
                                    td class=[self.class(column, cell.bold)] { (cell.text) }
                                }
                            }
                        }
                    }
                }
            }
            p.note { (self.note) }
        }
    }
}

/// A text in LaTeX.
fn latex(text: &str) -> String {
    let letter = |letter: char| match letter {
        '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{letter}"),
        '\\' => "\\textbackslash{}".into(),
        '~' => "\\textasciitilde{}".into(),
        '^' => "\\textasciicircum{}".into(),
        '<' | '>' => format!("${letter}$"),
        '±' => "$\\pm$".into(),
        '−' => "$-$".into(),
        'Δ' => "$\\Delta$".into(),
        letter => letter.to_string(),
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let best = SheetCell {
            text: "89.1 ± 0.2".into(),
            bold: true,
        };
        Sheet {
            title: "Scores".into(),
            header: ["data", "", "a|b", "dense_vl"].map(String::from).to_vec(),
            words: 2,
            rows: vec![
                vec!["kvasir".into(), "DSC".into(), "9.0".into(), best],
                vec!["".into(), "IoU".into(), "-".into(), "80.25".into()],
                vec!["bkai".into(), "DSC".into(), "<0.001".into(), "".into()],
            ],
            note: "In %.".into(),
        }
    }

    #[test]
    fn the_terminal_has_columns() {
        let expected = "\
data         a|b     dense_vl
kvasir  DSC     9.0  *89.1 ± 0.2
        IoU       -        80.25
bkai    DSC  <0.001
";
        let expected = expected.replacen(
            "data         a|b     dense_vl",
            "data            a|b     dense_vl",
            1,
        );
        assert_eq!(sheet().text(), expected);
    }

    #[test]
    fn markdown_escapes_and_marks() {
        let text = sheet().markdown();
        assert!(
            text.contains("| data |  | a\\|b | dense_vl |\n| --- | --- | --: | --: |\n"),
            "{text}"
        );
        assert!(
            text.contains("| kvasir | DSC | 9.0 | **89.1 ± 0.2** |\n"),
            "{text}"
        );
    }

    #[test]
    fn latex_escapes_and_marks() {
        let text = sheet().latex();
        for part in [
            "{llrr}",
            "dense\\_vl \\\\",
            "\\textbf{89.1 $\\pm$ 0.2}",
            "80.25 \\\\\n    \\midrule\n    bkai & DSC & $<$0.001",
            "In \\%.",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn html_escapes_and_marks() {
        let document = Document {
            title: "Study".into(),
            lead: String::new(),
            sheets: vec![sheet()],
        };
        let text = document.html();
        assert!(
            text.contains("<td class=\"best\">89.1 ± 0.2</td>"),
            "{text}"
        );
        assert!(text.contains("&lt;0.001"));
    }
}
