//! scratch
use std::collections::HashMap;
use windlass_tools::observability::patterns::Patterns;
fn main() {
    let dir = std::env::var("WINDLASS_LOGHUB").unwrap();
    let (mut sum, mut n, mut raw, mut small, mut small2) = (0.0, 0, 0, 0, 0);
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let rows = csv(&text);
        let col = |n: &str| rows[0].iter().position(|c| c == n).unwrap();
        let (c, e) = (col("Content"), col("EventId"));
        let mut p = Patterns::default();
        let mut pairs = Vec::new();
        for row in &rows[1..] {
            if row.len() < rows[0].len() {
                continue;
            }
            raw += row[c].len() + 1;
            pairs.push((row[e].clone(), p.add(&row[c], None)));
        }
        let mut t: HashMap<&str, HashMap<usize, usize>> = HashMap::new();
        let mut g: HashMap<usize, usize> = HashMap::new();
        for (a, b) in &pairs {
            *t.entry(a).or_default().entry(*b).or_default() += 1;
            *g.entry(*b).or_default() += 1;
        }
        let ok: usize = t
            .values()
            .filter(|m| m.len() == 1)
            .map(|m| {
                let (k, v) = m.iter().next().unwrap();
                if g[k] == *v { *v } else { 0 }
            })
            .sum();
        let ga = ok as f64 / pairs.len() as f64;
        sum += ga;
        n += 1;
        let shown = p.shown(15);
        small += serde_json::to_string(&shown).unwrap().len();
        small2 += shown
            .0
            .iter()
            .map(|s| s["template"].as_str().unwrap().len() + s["count"].to_string().len() + 2)
            .sum::<usize>();
        println!(
            "{} {ga:.3} {} / {}",
            path.file_name().unwrap().to_str().unwrap(),
            p.all.len(),
            t.len()
        );
    }
    println!(
        "mean {:.3} raw {raw} json {small} {:.1}x  bare {small2} {:.1}x",
        sum / n as f64,
        raw as f64 / small as f64,
        raw as f64 / small2 as f64
    );
}
fn csv(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![];
    let mut row = vec![];
    let mut cell = String::new();
    let mut q = false;
    let mut it = text.chars().peekable();
    while let Some(c) = it.next() {
        match c {
            '"' if q && it.peek() == Some(&'"') => {
                cell.push('"');
                it.next();
            }
            '"' => q = !q,
            ',' if !q => row.push(std::mem::take(&mut cell)),
            '\r' if !q => {}
            '\n' if !q => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    rows
}
