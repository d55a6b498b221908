//! The model of `tests/model` is of this code: its schedules are replayed against the real store, and after every step
//! what the store said and what its rows have is what the model says.
//!
//! `WINDLASS_MODEL_SCHEDULES` says how many schedules by chance are replayed on each database, `WINDLASS_MODEL_SEED`
//! where they begin; a failure names its own.

mod real;

use windlass_model::{
    Mistakes, Model,
    action::{Action, Said},
    allowed,
    properties::REACHED,
    rules,
    schedules::{by_chance, explore, find_failure},
    workflow::Status,
    world::{Budget, Wake, World},
};

use self::real::Real;
use super::*;

/// How many schedules by chance are replayed, and the seed of the first.
const SCHEDULES: u64 = 60;
const SEED: u64 = 20_261_121;

fn model(workers: u8, executions: u8, budget: Budget) -> Model {
    Model { workers, executions, budget, mistakes: Mistakes::default() }
}

/// More of everything than can be explored.
fn everything() -> Model {
    let budget = Budget {
        ticks: 4,
        crashes: 2,
        freezes: 1,
        losses: 3,
        renewals: 3,
        held_back: 1,
        set_asides: 1,
        hand_backs: 1,
        noise: 2,
        opinions: 1,
        failures: 2,
        absences: 1,
        pauses: 2,
        reopenings: 2,
    };
    model(3, 2, budget)
}

fn number_from(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    }
}

/// Replays a schedule by the rules as they are; the world in the end, and what was said last.
async fn replay(
    database: &Database,
    store: &Store,
    model: &Model,
    schedule: &[Action],
) -> (World, Said) {
    let mut world = model.begin();
    let mut real = Real::begin(database, store, &world).await;
    let mut last = Said::Nothing;
    for (at, action) in schedule.iter().enumerate() {
        let mut possible = Vec::new();
        allowed::actions(&world, &mut possible);
        assert!(possible.contains(action), "{action:?} may not happen now");
        let (next, said) = rules::step(Mistakes::default(), &world, *action);
        let done = &schedule[..=at];
        let answer = real.act(*action, &world, &next).await;
        assert_eq!(answer, said, "what the store says, and what the model says, after {done:#?}");
        real.compare(*action, &next)
            .await
            .unwrap_or_else(|complaint| panic!("{complaint}, after {done:#?}"));
        (world, last) = (next, said);
    }
    real.end().await;
    (world, last)
}

/// The shortest schedule that shows what a mistake leads to.
fn shown(mistakes: Mistakes, model: Model) -> Vec<Action> {
    find_failure(Model { mistakes, ..model }).expect("the mistake is found").1
}

on_both! {
    async fn schedules_by_chance_do_in_the_store_what_they_do_in_the_model(database) {
        let store = database.open().await;
        let seed = number_from("WINDLASS_MODEL_SEED", SEED);
        let count = number_from("WINDLASS_MODEL_SCHEDULES", SCHEDULES);
        let (mut steps, mut ended) = (0, 0);
        for seed in (seed..).take(usize::try_from(count).unwrap()) {
            let schedule = by_chance(&everything(), seed);
            // Read when something fails: the tests show what is printed then.
            println!("seed {seed}: {} steps", schedule.len());
            let (world, _) = replay(database, &store, &everything(), &schedule).await;
            steps += schedule.len();
            ended += world.rows.iter().filter(|row| row.status.is_final()).count();
        }
        println!("{count} schedules of {steps} steps");
        assert_eq!(u64::try_from(ended).unwrap(), 2 * count, "every execution ends");
    }

    async fn what_is_worth_seeing_in_the_model_is_seen_in_the_store(database) {
        let store = database.open().await;
        let model = model(2, 1, Budget { ticks: 2, crashes: 1, losses: 1, ..Budget::NONE });
        for name in REACHED {
            let schedule = &explore(model).found[name];
            replay(database, &store, &model, schedule).await;
        }
    }

    async fn the_store_refuses_what_a_missing_fence_would_let_through(database) {
        let mistakes = Mistakes { no_fence: true, ..Mistakes::default() };
        let model = model(2, 1, Budget { ticks: 2, ..Budget::NONE });
        let schedule = shown(mistakes, model);
        let (broken, _) = played(mistakes, &model, &schedule);
        assert!(broken.rows[0].written.iter().any(|written| written.is_stale), "without it it is written");

        let (world, said) = replay(database, &database.open().await, &model, &schedule).await;
        assert_eq!(said, Said::Fenced);
        assert!(world.rows[0].written.iter().all(|written| !written.is_stale));
    }

    async fn the_store_keeps_due_what_a_forgotten_signal_would_leave_asleep(database) {
        let mistakes = Mistakes { signals_forgotten: true, ..Mistakes::default() };
        let model = model(1, 1, Budget::NONE);
        let schedule = shown(mistakes, model);
        let (broken, _) = played(mistakes, &model, &schedule);
        assert_eq!(broken.rows[0].wake, Wake::Far, "with the mistake nobody looks at it again");

        let (world, said) = replay(database, &database.open().await, &model, &schedule).await;
        assert!(matches!(said, Said::Committed(_, 1)), "{said:?}");
        assert_eq!(world.rows[0].wake, Wake::Due);
    }

    async fn the_store_recognizes_a_turn_that_is_sent_twice(database) {
        let mistakes = Mistakes { numbers_not_compared: true, ..Mistakes::default() };
        let model = model(1, 1, Budget { losses: 1, ..Budget::NONE });
        let schedule = shown(mistakes, model);
        let (world, said) = replay(database, &database.open().await, &model, &schedule).await;
        assert!(matches!(said, Said::Committed(..)), "{said:?}");
        assert_eq!(usize::from(world.rows[0].last_seq), world.rows[0].written.len());
    }

    async fn the_store_opens_what_failed_once(database) {
        let mistakes = Mistakes { reopened_unseen: true, ..Mistakes::default() };
        let model = model(1, 1, Budget { failures: 1, reopenings: 2, ..Budget::NONE });
        let schedule = shown(mistakes, model);
        let (_, without) = played(mistakes, &model, &schedule);
        assert_eq!(without, Said::Told(true), "without the comparison it is opened although it completed");

        let (world, said) = replay(database, &database.open().await, &model, &schedule).await;
        assert_eq!(said, Said::Told(false));
        assert_eq!(world.rows[0].status, Status::Completed);
    }

    async fn what_is_paused_begins_nothing_in_the_store(database) {
        let mistakes = Mistakes { goes_on_in_pause: true, ..Mistakes::default() };
        let model = model(1, 1, Budget { pauses: 1, ..Budget::NONE });
        let schedule = shown(mistakes, model);
        let (world, _) = replay(database, &database.open().await, &model, &schedule).await;
        assert_eq!(world.rows[0].status, Status::Paused);
    }
}

/// What a schedule leads to in the model alone.
fn played(mistakes: Mistakes, model: &Model, schedule: &[Action]) -> (World, Said) {
    schedule.iter().fold((model.begin(), Said::Nothing), |(world, _), action| {
        rules::step(mistakes, &world, *action)
    })
}
