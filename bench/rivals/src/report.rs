//! The figures as tables: one a load, one for exactness, one a fleet of publishers.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use crate::holes::Exactness;
use crate::ingestion::Figures as FromBytes;
use crate::measure::Figures;
use crate::sockets::Figures as FromSockets;

/// One column: its heading, and what a row shows in it when the first row is ours.
type Column = (&'static str, fn(&Figures, &Figures) -> String);

const COLUMNS: &[Column] = &[
    ("index", |row, _| row.contender.to_owned()),
    ("insert\nMblocks/s", |row, _| mega(row.inserted_blocks_per_s)),
    ("\n+-%", |row, _| format!("{:.0}", 50.0 * row.insert_spread)),
    ("ours/\ntheirs", |row, ours| times(ours.inserted_blocks_per_s / row.inserted_blocks_per_s)),
    ("lookup\nM/s", |row, _| mega(row.lookups_per_s)),
    ("\n+-%", |row, _| format!("{:.0}", 50.0 * row.lookup_spread)),
    ("ours/\ntheirs", |row, ours| times(ours.lookups_per_s / row.lookups_per_s)),
    ("p50\nns", |row, _| format!("{:.0}", row.lookup_p50_ns)),
    ("p99\nns", |row, _| format!("{:.0}", row.lookup_p99_ns)),
    ("remove\nMblocks/s", |row, _| mega(row.removed_blocks_per_s)),
    ("ours/\ntheirs", |row, ours| times(ours.removed_blocks_per_s / row.removed_blocks_per_s)),
    ("bytes/\nheld", |row, _| format!("{:.1}", row.bytes_per_held_block)),
    ("bytes/\ntold", |row, _| format!("{:.1}", row.bytes_per_told_block)),
];

/// Lines above, below and under the headings only.
const RULED: TableStyle = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);
const RULE: LineStyle = LineStyle::none().fill('─').junction('─');

/// The figures of one load; ours come first.
pub fn table(figures: &[Figures]) -> String {
    let Some(ours) = figures.first() else { return String::new() };
    let rows = figures.iter().map(|row| COLUMNS.iter().map(|(_, shown)| shown(row, ours)).collect());
    format!("{}\n{}\n", ours.load, ruled(COLUMNS.iter().map(|(heading, _)| (*heading).to_owned()), rows))
}

pub fn exactness(rows: &[Exactness]) -> String {
    let headings =
        ["index", "answers", "holes:\ntoo deep", "too\nshallow", "leaves first:\ntoo deep", "too\nshallow"];
    let cells = |row: &Exactness| {
        let counts = [
            row.holes.answers,
            row.holes.too_deep,
            row.holes.too_shallow,
            row.tails.too_deep,
            row.tails.too_shallow,
        ];
        std::iter::once(row.contender.to_owned()).chain(counts.map(|count| count.to_string())).collect()
    };
    format!("Wrong answers\n{}\n", ruled(headings.map(str::to_owned), rows.iter().map(cells)))
}

/// The figures of one fleet; ours come first.
pub fn ingestion(figures: &[FromBytes]) -> String {
    let Some(ours) = figures.first() else { return String::new() };
    let headings = [
        "from bytes",
        "decoded\nMblocks/s",
        "ours/\ntheirs",
        "to index\nMblocks/s",
        "\n+-%",
        "ours/\ntheirs",
        "KiB\nheld",
        "bytes/\nheld",
        "KiB\nleft",
    ];
    let cells = |row: &FromBytes| {
        vec![
            row.contender.to_owned(),
            mega(row.decoded_blocks_per_s),
            times(ours.decoded_blocks_per_s / row.decoded_blocks_per_s),
            mega(row.indexed_blocks_per_s),
            format!("{:.0}", 50.0 * row.indexed_spread),
            times(ours.indexed_blocks_per_s / row.indexed_blocks_per_s),
            kib(row.heap_bytes),
            format!("{:.0}", row.bytes_per_held_block),
            kib(row.bytes_left),
        ]
    };
    format!("{}\n{}\n", ours.fleet, ruled(headings.map(str::to_owned), figures.iter().map(cells)))
}

/// The figures of whole services for one fleet; ours come first.
pub fn sockets(figures: &[FromSockets]) -> String {
    let Some(ours) = figures.first() else { return String::new() };
    let headings = [
        "from sockets",
        "to index\nMblocks/s",
        "\n+-%",
        "ours/\ntheirs",
        "MiB\nbefore",
        "MiB\nfull",
        "MiB\nafter",
    ];
    let cells = |row: &FromSockets| {
        let figures = [
            row.service.to_owned(),
            mega(row.indexed_blocks_per_s),
            format!("{:.0}", 50.0 * row.indexed_spread),
            times(ours.indexed_blocks_per_s / row.indexed_blocks_per_s),
        ];
        let resident = row.resident_kb.map(|kb| format!("{:.0}", kb / 1024.0));
        figures.into_iter().chain(resident).collect()
    };
    format!("{}\n{}\n", ours.fleet, ruled(headings.map(str::to_owned), figures.iter().map(cells)))
}

fn ruled(headings: impl IntoIterator<Item = String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(RULED);
    table.set_header(headings);
    rows.for_each(|row| _ = table.add_row(row));
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if place > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn mega(rate: f64) -> String {
    format!("{:.2}", rate / 1e6)
}

fn kib(bytes: usize) -> String {
    (bytes / 1024).to_string()
}

fn times(ratio: f64) -> String {
    format!("{ratio:.2}x")
}
