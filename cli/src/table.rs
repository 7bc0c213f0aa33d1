//! How rows become the columns that `list`, `ps` and `show` print.

/// Stands after every cell.
const GAP: &str = "    ";

/// Prints a header line and one line per row.
///
/// The layout is Ollama's: cells are padded to their column and followed by four blanks, the
/// last one too, while the last header has a single blank after its padding.
pub(crate) fn with_header<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| width(&row[column])).fold(width(header[column]), usize::max)
    });
    let cells: Vec<String> = header.iter().zip(widths).map(|(cell, n)| pad(cell, n)).collect();
    let mut lines = vec![format!("{} ", cells.join(GAP))];
    lines.extend(rows.iter().map(|row| line(row, &widths)));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Prints rows of any length without a header, each after four blanks.
pub(crate) fn indented(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|c| width(c)).max())
        .map(Option::unwrap_or_default)
        .collect();
    rows.iter().map(|row| format!("{GAP}{}\n", line(row, &widths))).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cell = |(n, width): (usize, &usize)| pad(row.get(n).map_or("", String::as_str), *width);
    widths.iter().enumerate().map(|column| cell(column) + GAP).collect()
}

fn pad(text: &str, width: usize) -> String {
    format!("{text:width$}")
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn list_is_byte_exact() {
        let rows = [
            row(["model1", "sha256:abc12", "1.0 KB", "24 hours ago"]),
            row(["model2", "sha256:def45", "2.0 KB", "2 days ago"]),
        ];
        let want = "\
NAME······ID··············SIZE······MODIFIED·····
model1····sha256:abc12····1.0·KB····24·hours·ago····
model2····sha256:def45····2.0·KB····2·days·ago······
";
        let got = with_header(["NAME", "ID", "SIZE", "MODIFIED"], &rows);
        assert_eq!(got.replace(' ', "·"), want);
    }

    #[test]
    fn an_empty_table_is_its_header() {
        let got = with_header(["NAME", "ID", "SIZE", "MODIFIED"], &[]);
        assert_eq!(got, "NAME    ID    SIZE    MODIFIED \n");
    }

    #[test]
    fn indented_rows_may_differ_in_length() {
        let rows = vec![vec!["num_ctx".to_owned(), "256".to_owned()], vec!["pin".to_owned()]];
        assert_eq!(indented(&rows), "    num_ctx    256    \n    pin               \n");
    }
}
