//! Tables in HTML.

use maud::{Markup, html};

use super::document::{Document, Sheet};
use crate::report::{section, shell};

impl Document {
    /// As an HTML page that needs no other file.
    pub fn html(&self) -> String {
        let sheets = html! { @for sheet in &self.sheets { (section(&sheet.title, sheet.html())) } };
        shell(&self.title, &self.lead, sheets, html! {}).into_string()
    }
}

impl Sheet {
    /// The style of a cell.
    fn class(&self, column: usize, bold: bool) -> Option<&'static str> {
        if column < self.words {
            Some("text")
        } else {
            bold.then_some("best")
        }
    }

    pub(super) fn html(&self) -> Markup {
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
