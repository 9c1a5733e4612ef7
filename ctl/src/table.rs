//! Aligned columns, as kubectl prints them.

use crate::options::Format;

/// Rows under titles.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    only_wide: bool,
}

/// A column that is always shown.
pub(crate) const fn column(title: &'static str) -> Column {
    Column {
        title,
        only_wide: false,
    }
}

/// A column of the wide form.
pub(crate) const fn wide(title: &'static str) -> Column {
    Column {
        title,
        only_wide: true,
    }
}

impl Table {
    /// A table; every row has a cell for every column, the wide ones too.
    pub(crate) fn new(columns: &'static [Column], rows: Vec<Vec<String>>) -> Self {
        debug_assert!(
            rows.iter().all(|row| row.len() == columns.len()),
            "{columns:?}"
        );
        Self { columns, rows }
    }

    /// As text, with an end of line after every row; empty without rows.
    pub(crate) fn render(&self, format: Format) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|i| format == Format::Wide || !self.columns[*i].only_wide)
            .collect();
        let titles = shown
            .iter()
            .map(|i| self.columns[*i].title.to_owned())
            .collect();
        let rows = self
            .rows
            .iter()
            .map(|row| shown.iter().map(|i| cell(&row[*i])).collect());
        let lines: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
        let width = |i: usize| {
            lines
                .iter()
                .map(|line| line[i].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..shown.len()).map(width).collect();
        lines.iter().map(|line| aligned(line, &widths)).collect()
    }
}

fn aligned(line: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = line
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    let mut text = padded.join("   ").trim_end().to_owned();
    text.push('\n');
    text
}

/// Text from peers and objects must not steer the terminal.
pub(crate) fn cell(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.trim().is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_wide_ones_hide() {
        const COLUMNS: &[Column] = &[column("NAME"), wide("AS"), column("REASON")];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let table = Table::new(
            COLUMNS,
            vec![
                row(["tor-1", "65101", "hold timer\x1b[2J"]),
                row(["a", "1", ""]),
            ],
        );
        assert_eq!(
            table.render(Format::Table),
            "NAME    REASON\ntor-1   hold timer [2J\na       -\n"
        );
        assert_eq!(
            table.render(Format::Wide),
            "NAME    AS      REASON\ntor-1   65101   hold timer [2J\na       1       -\n"
        );
        assert_eq!(Table::new(COLUMNS, vec![]).render(Format::Table), "");
    }
}
