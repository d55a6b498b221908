//! How many turns are worth waiting for.

use std::time::Duration;

/// As many turns wait for no more of them, and not for the group that is under way either, unless groups take long. Fewer
/// go with the next one: small groups take the processors' time that their turns need.
pub(super) const ENOUGH: usize = 8;

/// A group takes long, of late, when it takes this many times as long as the quickest one.
const LONG: f64 = 2.0;

/// By how much the quickest one counts as slower with every group, so that it is forgotten.
const FORGET: f64 = 1.01;

/// How much the newest group counts for how long they take of late.
const NEWEST: f64 = 0.25;

/// What the groups so far say about the next one.
pub(super) struct Pace {
    /// How many groups may be under way at once.
    pub(super) most_groups: usize,
    /// How many turns are being written.
    writing: usize,
    /// How many turns wait or are written at a time. What was seen once is forgotten one by one.
    crowd: usize,
    /// In seconds; none before there was a group.
    quickest: f64,
    /// In seconds.
    of_late: f64,
}

impl Pace {
    pub(super) fn new(most_groups: usize) -> Pace {
        Pace { most_groups, writing: 0, crowd: 0, quickest: 0.0, of_late: 0.0 }
    }

    /// A group of so many turns begins, while so many wait.
    pub(super) fn begins(&mut self, turns: usize, waiting: usize) {
        self.writing += turns;
        self.crowd = self.crowd.saturating_sub(1);
        self.see(waiting);
    }

    /// One has ended, while so many wait; it took so long, if it was written.
    pub(super) fn ends(&mut self, turns: usize, waiting: usize, took: Option<Duration>) {
        self.see(waiting);
        self.writing = self.writing.saturating_sub(turns);
        if let Some(took) = took {
            let took = took.as_secs_f64();
            let quickest = if self.quickest == 0.0 { took } else { self.quickest * FORGET };
            self.quickest = quickest.min(took);
            self.of_late += (took - self.of_late) * NEWEST;
        }
    }

    /// Nothing is under way, whatever became of it.
    pub(super) fn rests(&mut self) {
        self.writing = 0;
    }

    /// More than every group has enough of are no larger crowd.
    fn see(&mut self, waiting: usize) {
        let most = self.most_groups * ENOUGH;
        self.crowd = (self.writing + waiting).clamp(self.crowd, most.max(self.crowd));
    }

    /// How many turns are a group, and wait for nobody.
    ///
    /// As many as each of the groups gets that may be under way: while the database has the one half, this process has the
    /// other. Where groups take long, because the database or the processors have others to serve, too, all of them go
    /// together: nothing stands idle there, and one large group costs less than two.
    pub(super) fn enough(&self) -> usize {
        if self.quickest * LONG < self.of_late {
            return self.crowd.max(ENOUGH);
        }
        (self.crowd / self.most_groups).clamp(1, ENOUGH)
    }

    /// Whether nobody is likely to share a group with the one who waits.
    pub(super) fn is_lonely(&self) -> bool {
        self.crowd <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);

    /// So many groups of so many turns, one after the other, while so many wait.
    fn groups(pace: &mut Pace, count: usize, turns: usize, waiting: usize, took: Duration) {
        for _ in 0..count {
            pace.begins(turns, waiting);
            pace.ends(turns, waiting, Some(took));
        }
    }

    #[test]
    fn those_that_are_about_are_shared_by_the_groups_that_may_be_under_way() {
        let all = [(1, 0, [1, 1]), (1, 1, [2, 1]), (2, 3, [5, 2]), (3, 9, [8, 6]), (8, 90, [8, 8])];
        for (turns, waiting, enough) in all {
            for (most_groups, enough) in [1, 2].into_iter().zip(enough) {
                let mut pace = Pace::new(most_groups);
                pace.begins(turns, waiting);
                assert_eq!(pace.enough(), enough, "{turns} and {waiting}, {most_groups} groups");
            }
        }
    }

    #[test]
    fn a_crowd_is_forgotten_one_by_one() {
        let mut pace = Pace::new(2);
        groups(&mut pace, 1, 256, 5_000, QUICK);
        assert_eq!(pace.enough(), ENOUGH);
        groups(&mut pace, 10, 1, 0, QUICK);
        assert_eq!(pace.enough(), 3);
        groups(&mut pace, 10, 1, 0, QUICK);
        assert!(pace.is_lonely(), "it was no larger than both groups have enough of");
    }

    #[test]
    fn where_groups_take_long_more_are_waited_for_until_that_is_how_it_is() {
        let mut pace = Pace::new(2);
        groups(&mut pace, 10, 2, 2, QUICK);
        assert_eq!(pace.enough(), 2);
        groups(&mut pace, 10, 2, 2, 3 * QUICK);
        assert_eq!(pace.enough(), ENOUGH);
        for (waiting, enough) in [(9, 11), (90, 2 * ENOUGH)] {
            let mut crowded = Pace::new(2);
            groups(&mut crowded, 10, 2, waiting, QUICK);
            assert_eq!(crowded.enough(), (enough / 2).min(ENOUGH));
            groups(&mut crowded, 10, 2, waiting, 3 * QUICK);
            assert_eq!(crowded.enough(), enough, "all that are about go together");
        }
        groups(&mut pace, 100, 2, 2, 3 * QUICK);
        assert_eq!(pace.enough(), 2);
        pace.ends(0, 2, None);
        assert_eq!(pace.enough(), 2, "what failed says nothing");
    }

    #[test]
    fn who_comes_alone_again_and_again_is_lonely() {
        for most_groups in [1, 2] {
            let mut pace = Pace::new(most_groups);
            assert!(pace.is_lonely());
            groups(&mut pace, 1, 4, 0, QUICK);
            assert!(!pace.is_lonely());
            groups(&mut pace, 3, 1, 0, QUICK);
            assert!(pace.is_lonely());
            pace.begins(1, 0);
            pace.ends(1, 1, Some(QUICK));
            assert!(!pace.is_lonely(), "one came while the other was written");
        }
    }
}
