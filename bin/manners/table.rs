//! Tables on a terminal. This is the only place that knows who draws them.

use prettytable::{Cell, Row, Table as Pretty};

/// What separates the header from the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// `+====+`, as in the table of friends.
    Double,
    /// `+----+`, as in the tables of relays and index servers.
    Plain,
}

/// Draws a table, without the last line end. Cells may have several lines.
#[must_use]
pub fn draw<const COLUMNS: usize>(
    header: Header,
    titles: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Pretty::new();
    let title_row = Row::new(titles.iter().map(|title| Cell::new(title)).collect());
    match header {
        Header::Double => table.set_titles(title_row),
        Header::Plain => {
            table.add_row(title_row);
        }
    }
    for row in rows {
        table.add_row(Row::new(row.iter().map(|cell| Cell::new(cell)).collect()));
    }
    table.to_string().trim_end().replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_in_a_cell_and_a_double_header() {
        let rows = [
            ["E+".to_owned(), "node1".to_owned(), "C: LR=+, RR=+\nB  =100".to_owned()],
            ["D-".to_owned(), "Änne".to_owned(), "C: LR=-, RR=-\nB  =0".to_owned()],
        ];
        let expected = "\
+----+-------+---------------+
| st | name  | balance       |
+====+=======+===============+
| E+ | node1 | C: LR=+, RR=+ |
|    |       | B  =100       |
+----+-------+---------------+
| D- | Änne  | C: LR=-, RR=- |
|    |       | B  =0         |
+----+-------+---------------+";
        assert_eq!(draw(Header::Double, ["st", "name", "balance"], rows), expected);
    }

    #[test]
    fn a_plain_header_looks_like_a_row() {
        let rows = [["relay0".to_owned(), "127.0.0.1:8000".to_owned()]];
        let expected = "\
+------------+----------------+
| relay name | address        |
+------------+----------------+
| relay0     | 127.0.0.1:8000 |
+------------+----------------+";
        assert_eq!(draw(Header::Plain, ["relay name", "address"], rows), expected);
    }
}
