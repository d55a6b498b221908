//! Schedules: what happens, one after the other. They are what is replayed against the real store.

use std::collections::BTreeMap;

use stateright::{Checker, Expectation, HasDiscoveries, Model as _, Property};

use crate::{Model, action::Action, allowed, rules};

/// What an exploration came to.
#[derive(Debug)]
pub struct Explored {
    /// Steps taken.
    pub states: usize,
    /// Different worlds.
    pub unique: usize,
    /// The longest schedule.
    pub depth: usize,
    /// For each property that was decided by an example, the schedule that leads to it; for one that must always hold
    /// it is the proof that it does not.
    pub found: BTreeMap<&'static str, Vec<Action>>,
}

/// Explores every schedule.
#[must_use]
pub fn explore(model: Model) -> Explored {
    explored(&model.checker().threads(2).spawn_dfs().join())
}

/// Explores until something that must always hold does not: what that is, and a short schedule that leads to it.
#[must_use]
pub fn find_failure(model: Model) -> Option<(&'static str, Vec<Action>)> {
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    let schedules = explored(&checker.join()).found.into_values();
    schedules
        .filter_map(|schedule| until_failure(model, schedule))
        .min_by_key(|(_, found)| found.len())
}

/// The checker may have gone on a little after it found something.
fn until_failure(model: Model, mut schedule: Vec<Action>) -> Option<(&'static str, Vec<Action>)> {
    let properties = model.properties();
    let mut world = model.begin();
    for at in 0..schedule.len() {
        world = rules::step(model.mistakes, &world, schedule[at]).0;
        let fails = |property: &&Property<Model>| {
            property.expectation == Expectation::Always && !(property.condition)(&model, &world)
        };
        if let Some(failing) = properties.iter().find(fails) {
            schedule.truncate(at + 1);
            return Some((failing.name, schedule));
        }
    }
    None
}

fn explored(checker: &impl Checker<Model>) -> Explored {
    let found = checker.discoveries().into_iter().map(|(name, path)| (name, path.into_actions()));
    Explored {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        found: found.collect(),
    }
}

/// A schedule by chance, from the beginning until nothing can happen any more. The same seed is the same schedule.
#[must_use]
pub fn by_chance(model: &Model, seed: u64) -> Vec<Action> {
    let mut chance = Chance(seed);
    let (mut world, mut schedule, mut possible) = (model.begin(), Vec::new(), Vec::new());
    loop {
        possible.clear();
        allowed::actions(&world, &mut possible);
        if possible.is_empty() {
            return schedule;
        }
        let action = possible[chance.below(possible.len())];
        world = rules::step(model.mistakes, &world, action).0;
        schedule.push(action);
    }
}

/// `SplitMix64`: enough to choose by, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or_default()
    }
}
