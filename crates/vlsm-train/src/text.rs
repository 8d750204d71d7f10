//! Numbers and tables as plain text, for terminals and messages.

use unicode_width::UnicodeWidthStr;

/// A whole number with a comma between thousands: `3,237,376`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in megabytes (10^6) or, from 10^9, gigabytes: `12.5 MB`, `1.20 GB`.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1_000_000_000 {
        format!("{:.1} MB", bytes as f64 / 1e6)
    } else {
        format!("{:.2} GB", bytes as f64 / 1e9)
    }
}

/// Lines of cells as a table with two spaces between columns. The first `left` columns are aligned left, the others right. The
/// number of columns is that of the first line, usually the header.
pub fn columns(lines: &[Vec<String>], left: usize) -> String {
    let count = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            let padding = " ".repeat(width - cell.width());
            if column < left {
                format!("{cell}{padding}")
            } else {
                format!("{padding}{cell}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(thousands(3_237_376), "3,237,376");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(0), "0");
    }

    #[test]
    fn bytes_have_a_unit() {
        assert_eq!(bytes(12_540_000), "12.5 MB");
        assert_eq!(bytes(1_200_000_000), "1.20 GB");
    }

    #[test]
    fn columns_line_up() {
        let line = |cells: [&str; 2]| cells.map(String::from).to_vec();
        let lines = [line(["prompt", "n"]), line(["p1", "100"])];
        assert_eq!(columns(&lines, 1), "prompt    n\np1      100\n");
        // A letter of double width, and a cell that is left out.
        let lines = [line(["名", "Dice"]), vec!["lake".into()]];
        assert_eq!(columns(&lines, 2), "名    Dice\nlake\n");
    }
}
