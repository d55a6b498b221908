//! The graph of which step needs which.

/// For every step, all the steps that have ended before it begins.
pub(super) struct Ancestors {
    /// One bit for each step, in words of 64.
    sets: Vec<Vec<u64>>,
}

impl Ancestors {
    /// Collects the ancestors in a graph without cycles.
    pub(super) fn of(needs: &[Vec<usize>]) -> Ancestors {
        let words = needs.len().div_ceil(64);
        let mut sets = vec![Vec::new(); needs.len()];
        for step in order(needs) {
            let mut set = vec![0_u64; words];
            for needed in &needs[step] {
                set[needed / 64] |= 1 << (needed % 64);
                let above: &Vec<u64> = &sets[*needed];
                set.iter_mut().zip(above).for_each(|(word, above)| *word |= above);
            }
            sets[step] = set;
        }
        Ancestors { sets }
    }

    /// Whether `other` has ended before `step` begins.
    pub(super) fn contains(&self, step: usize, other: usize) -> bool {
        let word = self.sets[step].get(other / 64).copied().unwrap_or(0);
        word >> (other % 64) & 1 == 1
    }
}

/// The steps in an order in which each comes after what it needs; those on a cycle, and those
/// that need them, are left out.
fn order(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (step, needed) in needs.iter().enumerate() {
        needed.iter().for_each(|needed| needed_by[*needed].push(step));
    }
    let mut order: Vec<usize> = (0..needs.len()).filter(|step| waiting[*step] == 0).collect();
    let mut next = 0;
    while next < order.len() {
        for step in &needed_by[order[next]] {
            waiting[*step] -= 1;
            if waiting[*step] == 0 {
                order.push(*step);
            }
        }
        next += 1;
    }
    order
}

/// The cycles, each as the steps in the order in which they need one another.
///
/// Cycles that share a step are reported as one: breaking one may break the other.
pub(super) fn cycles(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut done = vec![false; needs.len()];
    order(needs).into_iter().for_each(|step| done[step] = true);
    let mut cycles = Vec::new();
    for step in 0..needs.len() {
        if !done[step] {
            cycles.extend(cycle_from(step, needs, &mut done));
        }
    }
    cycles
}

/// Follows unfinished needs until a step comes up again, or a cycle that is known.
fn cycle_from(start: usize, needs: &[Vec<usize>], done: &mut [bool]) -> Option<Vec<usize>> {
    let mut path = vec![start];
    loop {
        let last = *path.last()?;
        let next = needs[last].iter().copied().find(|needed| !done[*needed]);
        let Some(next) = next else {
            // Everything it needs is on a cycle that is known.
            path.iter().for_each(|step| done[*step] = true);
            return None;
        };
        if let Some(begin) = path.iter().position(|step| *step == next) {
            path.iter().for_each(|step| done[*step] = true);
            return Some(path.split_off(begin));
        }
        path.push(next);
    }
}
