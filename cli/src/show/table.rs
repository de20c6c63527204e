// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Tables of plain text.

use std::fmt;

/// A table: the first column is text and left-aligned, the others are numbers and right-aligned.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: usize,
}

struct Column {
    /// Lines of the heading.
    heading: Vec<String>,
    cells: Vec<String>,
}

impl Table {
    /// A table without rows. Headings may have several lines.
    pub(crate) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let columns = headings.into_iter().map(|heading| Column {
            heading: heading.lines().map(Into::into).collect(),
            cells: Vec::new(),
        });
        Self {
            columns: columns.collect(),
            rows: 0,
        }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells = cells.into_iter();
        for column in &mut self.columns {
            column.cells.push(cells.next().unwrap_or_default());
        }
        self.rows += 1;
    }

    /// The table in lines of at most `width` letters: if it is wider, each row becomes a list.
    pub(crate) fn within(&self, width: usize) -> String {
        let table = self.to_string();
        if table.lines().all(|line| line.chars().count() <= width) {
            return table;
        }
        let rows: Vec<_> = (0..self.rows).map(|at| self.list(at)).collect();
        rows.join("\n")
    }

    /// A row under its first cell.
    fn list(&self, row: usize) -> String {
        let mut columns = self.columns.iter();
        let first = columns.next().map_or("", |column| text(&column.cells, row));
        let names = columns.clone().map(Column::name);
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let mut list = first.to_owned();
        for column in columns {
            let (name, cell) = (column.name(), text(&column.cells, row));
            list.push_str(&format!("\n  {name:<width$}  {cell}"));
        }
        list
    }

    fn line<'a>(&'a self, cell: impl Fn(&'a Column) -> &'a str) -> String {
        let mut line = String::new();
        for (at, column) in self.columns.iter().enumerate() {
            let (width, cell) = (column.width(), cell(column));
            if at == 0 {
                line.push_str(&format!("{cell:<width$}"));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        line.trim_end().to_owned()
    }
}

impl Column {
    /// The heading in one line.
    fn name(&self) -> String {
        self.heading
            .iter()
            .fold(String::new(), |name, line| match name.strip_suffix('-') {
                Some(start) => format!("{start}{line}"),
                None if name.is_empty() => line.clone(),
                None => format!("{name} {line}"),
            })
    }

    fn width(&self) -> usize {
        let texts = self.heading.iter().chain(&self.cells);
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let height = self.columns.iter().map(|column| column.heading.len()).max();
        for at in 0..height.unwrap_or(0) {
            writeln!(f, "{}", self.line(|column| text(&column.heading, at)))?;
        }
        let rules: Vec<_> = self
            .columns
            .iter()
            .map(|column| "-".repeat(column.width()))
            .collect();
        write!(f, "{}", rules.join("  "))?;
        for at in 0..self.rows {
            write!(f, "\n{}", self.line(|column| text(&column.cells, at)))?;
        }
        Ok(())
    }
}

fn text(texts: &[String], at: usize) -> &str {
    texts.get(at).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["method", "total time\n(ms)", "ok"]);
        table.row(["none", "12", "yes"].map(String::from));
        table.row(["a long name", "123456789012", "no"].map(String::from));
        let want = "\
method         total time   ok
                     (ms)
-----------  ------------  ---
none                   12  yes
a long name  123456789012   no";
        assert_eq!(table.to_string(), want);
    }

    #[test]
    fn on_a_narrow_terminal_rows_are_lists() {
        let mut table = Table::new(["method", "chan-\nnels", "total\ntime"]);
        table.row(["none", "2", "12"].map(String::from));
        table.row(["zstd", "4", "7"].map(String::from));
        let wide = table.to_string();
        assert_eq!(table.within(20), wide);
        let want = "\
none
  channels    2
  total time  12
zstd
  channels    4
  total time  7";
        assert_eq!(table.within(19), want);
    }

    #[test]
    fn missing_cells_are_empty() {
        let mut table = Table::new(["a", "b"]);
        table.row(["x".to_owned()]);
        assert_eq!(table.to_string(), "a  b\n-  -\nx");
    }
}
