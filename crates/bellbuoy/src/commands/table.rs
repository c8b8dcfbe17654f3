//! Columns that line up.

use unicode_width::UnicodeWidthStr;

/// Between two columns.
const GAP: &str = "  ";

/// Rows under a head. The last column is as wide as it is.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// Adds a row of as many cells as the head has.
    pub(crate) fn add<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl std::fmt::Display for Table {
    /// Without a line feed at the end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&lines(&self.rows))
    }
}

/// Names and values, one pair a line.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> =
        pairs.iter().map(|(name, value)| vec![(*name).to_owned(), plain(value)]).collect();
    lines(&rows)
}

fn lines(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        cells.join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `format!` counts characters, of which some are two columns wide and some none.
fn pad(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}

/// What others wrote must not command the terminal, nor break the line.
fn plain(cell: &str) -> String {
    let visible = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    cell.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let mut table = Table::new(&["ID", "TITLE", "STATE"]);
        assert!(table.is_empty());
        table.add(["1".to_owned(), "港口".to_owned(), "active".to_owned()]);
        table.add(["23".to_owned(), "e\u{301}t\u{1b}[2J\n".to_owned(), String::new()]);
        assert!(!table.is_empty());
        let expected = "ID  TITLE    STATE\n1   港口     active\n23  e\u{301}t\u{fffd}[2J\u{fffd}";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn pairs_line_up_too() {
        let text = pairs(&[("id", "1".to_owned()), ("state", "dead".to_owned()), ("cause", String::new())]);
        assert_eq!(text, "id     1\nstate  dead\ncause");
    }
}
