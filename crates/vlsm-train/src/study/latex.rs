//! Tables in LaTeX, for package `booktabs`.

use super::document::{Document, Sheet, SheetCell};

impl Document {
    /// As LaTeX tables for package `booktabs`.
    pub fn latex(&self) -> String {
        let sheets = self.sheets.iter().map(Sheet::latex);
        format!(
            "% {}\n% {}\n% \\usepackage{{booktabs}}\n",
            self.title, self.lead
        ) + &sheets.collect::<String>()
    }
}

impl Sheet {
    pub(super) fn latex(&self) -> String {
        let cell = |cell: &SheetCell| match cell.bold {
            true => format!("\\textbf{{{}}}", latex(&cell.text)),
            false => latex(&cell.text),
        };
        let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
        let grouped = self.rows.iter().any(|row| row[0].text.is_empty());
        let mut rows = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            if grouped && index > 0 && !row[0].text.is_empty() {
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
}

/// A text with LaTeX's special characters escaped.
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
