//! The graph of which step needs which.

/// For every step, all the steps of its list that have ended before it begins.
pub(super) struct Ancestors {
    /// One bit for each step of the list, in words of 64.
    sets: Vec<Vec<u64>>,
    /// The place of each step in its list.
    places: Vec<usize>,
}

impl Ancestors {
    /// Collects the ancestors in a graph without cycles; steps need only steps of their own list.
    pub(super) fn of<'l>(
        needs: &[Vec<usize>],
        lists: impl Iterator<Item = &'l [usize]>,
    ) -> Ancestors {
        let mut places = vec![0; needs.len()];
        let mut words = vec![0; needs.len()];
        for list in lists {
            for (place, step) in list.iter().enumerate() {
                (places[*step], words[*step]) = (place, list.len().div_ceil(64));
            }
        }
        let mut sets = vec![Vec::new(); needs.len()];
        for step in order(needs) {
            let mut set = vec![0_u64; words[step]];
            for needed in &needs[step] {
                set[places[*needed] / 64] |= 1 << (places[*needed] % 64);
                let above: &Vec<u64> = &sets[*needed];
                set.iter_mut().zip(above).for_each(|(word, above)| *word |= above);
            }
            sets[step] = set;
        }
        Ancestors { sets, places }
    }

    /// Whether `other`, which is in the same list, has ended before `step` begins.
    pub(super) fn contains(&self, step: usize, other: usize) -> bool {
        let place = self.places[other];
        let word = self.sets[step].get(place / 64).copied().unwrap_or(0);
        word >> (place % 64) & 1 == 1
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
