//! How well logs are grouped: bounds on what `benches/log_patterns.rs` measures.

#[path = "../benches/logs/sets.rs"]
mod sets;

use sets::{LINES, measure};

#[test]
fn our_own_labelled_logs_are_grouped_by_their_kinds_and_become_small() {
    let logs = sets::all();
    let mut accuracies = Vec::new();
    let (mut raw, mut told) = (0, 0);
    for log in &logs {
        let measured = measure(log);
        assert_eq!(log.lines.len(), LINES);
        let told_of =
            format!("{}: {} groups of {} kinds", log.name, measured.groups, measured.kinds);
        assert!(0.8 <= measured.accuracy, "{told_of}, accuracy {}", measured.accuracy);
        accuracies.push(measured.accuracy);
        raw += measured.bytes.0;
        told += measured.bytes.1;
    }
    let mean = accuracies.iter().sum::<f64>() / f64::from(u32::try_from(logs.len()).unwrap());
    assert!(0.9 <= mean, "mean accuracy {mean}");
    assert!(20 * told <= raw, "{raw} bytes became {told}");
}
