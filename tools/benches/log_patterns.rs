//! How well and how small logs are grouped, on logs of our own making: `cargo bench -p windlass-tools`.
//!
//! With `WINDLASS_LOGHUB=FOLDER` the sets of loghub in it (`*_2k.log_structured.csv`) are measured as
//! well. They are for research only and do not belong to this project.

#![allow(clippy::print_stdout, reason = "what is measured is for people")]

use std::path::Path;
use std::time::Instant;

#[path = "logs/sets.rs"]
mod sets;

use sets::{Labelled, Measured, measure};

fn main() {
    report("own", &sets::all());
    if let Ok(folder) = std::env::var("WINDLASS_LOGHUB") {
        report("loghub", &loghub(Path::new(&folder)));
    }
}

#[allow(clippy::cast_precision_loss, reason = "the counts are small")]
fn report(name: &str, logs: &[Labelled]) {
    let started = Instant::now();
    let measured: Vec<Measured> = logs.iter().map(measure).collect();
    let took = started.elapsed();
    let ratio = |(raw, told): (usize, usize)| raw as f64 / told.max(1) as f64;
    for (log, found) in logs.iter().zip(&measured) {
        let Measured { accuracy, groups, kinds, bytes } = found;
        println!(
            "{:<12} accuracy {accuracy:.3}  {groups} groups of {kinds} kinds  {:.0} times smaller",
            log.name,
            ratio(*bytes)
        );
    }
    let mean =
        measured.iter().map(|found| found.accuracy).sum::<f64>() / measured.len().max(1) as f64;
    let sum = |part: fn(&Measured) -> usize| measured.iter().map(part).sum::<usize>();
    let bytes = (sum(|found| found.bytes.0), sum(|found| found.bytes.1));
    let lines: usize = logs.iter().map(|log| log.lines.len()).sum();
    println!(
        "{name}: mean accuracy {mean:.3}; {} bytes become {}: {:.1} times smaller; {lines} lines in {took:.2?}\n",
        bytes.0,
        bytes.1,
        ratio(bytes)
    );
}

/// The sets of loghub in a folder: what a line says is in `Content`, its kind in `EventId`.
fn loghub(folder: &Path) -> Vec<Labelled> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.retain(|path| path.to_string_lossy().ends_with("_2k.log_structured.csv"));
    paths.sort();
    paths.iter().filter_map(|path| set(path)).collect()
}

fn set(path: &Path) -> Option<Labelled> {
    let text = std::fs::read_to_string(path).ok()?;
    let rows = rows(&text);
    let (head, rows) = rows.split_first()?;
    let column = |name: &str| head.iter().position(|cell| cell == name);
    let (content, kind) = (column("Content")?, column("EventId")?);
    let line = |row: &Vec<String>| Some((row.get(kind)?.clone(), row.get(content)?.clone()));
    let name = path.file_name()?.to_string_lossy().split('_').next()?.to_owned();
    Some(Labelled { name, lines: rows.iter().filter_map(line).collect() })
}

/// The cells of a CSV file, in which quoted ones may hold commas and line ends.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            char => cell.push(char),
        }
    }
    rows
}
