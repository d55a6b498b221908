//! Chance that can be had again: one seed, one course of events, as far as machines allow.

/// A generator of numbers (SplitMix64).
#[derive(Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// The seed in `WINDLASS_FAULT_SEED`, or a new one; it is printed with the figures.
    pub(super) fn seed() -> u64 {
        let text = std::env::var("WINDLASS_FAULT_SEED").unwrap_or_default();
        text.parse().unwrap_or_else(|_| u64::from(rand::random::<u32>()))
    }

    pub(super) fn of(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Another course of events that follows from this one.
    pub(super) fn fork(&mut self) -> Chance {
        Chance(self.next())
    }

    /// A number from 0, less than `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    pub(super) fn among<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// True so many times out of a hundred.
    pub(super) fn percent(&mut self, of: usize) -> bool {
        self.below(100) < of
    }
}
