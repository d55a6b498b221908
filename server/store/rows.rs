//! Many rows in one statement: on Postgres an array a column, on SQLite one JSON text.

use std::{borrow::Cow, fmt::Write};

use serde_json::Value;

use super::db::{Arg, Tx};

/// What a column holds.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Int,
    Text,
}

/// The columns of rows that go into one statement, in the order of their values.
pub(super) type Columns = [(&'static str, Type)];

/// A row's values, in the order of its columns.
pub(super) type Row<'r> = Vec<Arg<'r>>;

/// The names, with commas between them.
pub(super) fn names(columns: &Columns) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What stands behind `FROM` on Postgres; the parameters are numbered from `first`.
pub(super) fn arrays(columns: &Columns, first: usize) -> String {
    let mut text = String::from("unnest(");
    for (at, (_, of)) in columns.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let of = match of {
            Type::Int => "BIGINT",
            Type::Text => "TEXT",
        };
        // Writing to a text cannot fail.
        _ = write!(text, "{comma}${}::{of}[]", first + at);
    }
    format!("{text}) AS r ({})", names(columns))
}

/// What stands behind `FROM` on SQLite, where the rows are one parameter.
pub(super) fn json_rows(columns: &Columns) -> String {
    let values: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, (name, _))| format!("value ->> {at} AS {name}"))
        .collect();
    format!("(SELECT {} FROM json_each($1)) AS r", values.join(", "))
}

/// The same for so many rows, each value of which is a parameter.
pub(super) fn values(columns: &Columns, count: usize, first: usize) -> String {
    let width = columns.len();
    let row = |at: usize| {
        let first = first + at * width;
        let values: Vec<String> = (first..first + width).map(|at| format!("${at}")).collect();
        format!("({})", values.join(", "))
    };
    let all: Vec<String> = (0..count).map(row).collect();
    format!("(VALUES {}) AS r ({})", all.join(", "), names(columns))
}

/// A row of nothing.
pub(super) fn empty(columns: &Columns) -> Row<'static> {
    let none = |(_, of): &(&str, Type)| match of {
        Type::Int => Arg::Int(None),
        Type::Text => Arg::Text(None),
    };
    columns.iter().map(none).collect()
}

/// What stands behind `FROM` for one row, whose values are the parameters, numbered from `first`.
pub(super) fn one(columns: &Columns, first: usize) -> String {
    let values = columns.iter().zip(first..).map(|((name, _), at)| format!("${at} AS {name}"));
    format!("(SELECT {}) AS r", values.collect::<Vec<_>>().join(", "))
}

/// The parameters of a statement that takes these rows.
pub(super) fn args<'r>(tx: &Tx, columns: &Columns, rows: Vec<Row<'r>>) -> Vec<Arg<'r>> {
    match tx {
        Tx::Sqlite(_) => vec![json_text(&rows)],
        Tx::Postgres(_) => array_args(columns, rows),
    }
}

/// The rows as arrays, one a column.
pub(super) fn array_args<'r>(columns: &Columns, rows: Vec<Row<'r>>) -> Vec<Arg<'r>> {
    let empty = |(_, of): &(&str, Type)| match of {
        Type::Int => Arg::Ints(Vec::with_capacity(rows.len())),
        Type::Text => Arg::Texts(Vec::with_capacity(rows.len())),
    };
    let mut arrays: Vec<Arg<'r>> = columns.iter().map(empty).collect();
    for row in rows {
        for (array, value) in arrays.iter_mut().zip(row) {
            match (array, value) {
                (Arg::Ints(all), Arg::Int(value)) => all.push(value),
                (Arg::Texts(all), Arg::Text(value)) => all.push(value.map(storable)),
                // A column has one type; a value of another one would be none.
                (Arg::Ints(all), _) => all.push(None),
                (Arg::Texts(all), _) => all.push(None),
                _ => {}
            }
        }
    }
    arrays
}

/// Postgres keeps no U+0000. In JSON it is an escape; anywhere else it is nobody's intent.
fn storable(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

fn json_text(rows: &[Row<'_>]) -> Arg<'static> {
    let mut text = String::from("[");
    for (at, row) in rows.iter().enumerate() {
        text.push_str(if at == 0 { "[" } else { ",[" });
        for (at, value) in row.iter().enumerate() {
            if at != 0 {
                text.push(',');
            }
            match value {
                Arg::Int(Some(int)) => _ = write!(text, "{int}"),
                Arg::Text(Some(value)) => text.push_str(&Value::from(&**value).to_string()),
                Arg::Int(None) | Arg::Text(None) => text.push_str("null"),
                // No row has such a value.
                Arg::Bytes(_) | Arg::Ints(_) | Arg::Texts(_) => text.push_str("null"),
            }
        }
        text.push(']');
    }
    text.push(']');
    Arg::from(text)
}
