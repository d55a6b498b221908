//! What may happen in a world.

use crate::{
    action::Action,
    rules::{members, needs_renewal},
    workflow::{Event, Resolution, State, Word},
    world::{Drive, FRESH, Lock, Out, Row, Signal, Wake, World},
};

/// Everything that may happen next.
pub fn actions(world: &World, actions: &mut Vec<Action>) {
    reopenings(world, actions);
    if is_over(world) {
        return;
    }
    // Order is of no meaning, but what workers do comes first: time waits for it.
    let known = actions.len();
    workers(world, actions);
    let nobody_acts = actions.len() == known;
    outside(world, actions);
    faults(world, actions);
    if time_matters(world) && (0 < world.left.ticks || nobody_acts) {
        actions.push(Action::Tick);
    }
}

/// Whoever saw that an execution failed may take its time: it may have gone on by then.
fn reopenings(world: &World, actions: &mut Vec<Action>) {
    if world.left.reopenings == 0 {
        return;
    }
    let has_failed = |row: &Row| row.history().any(|event| event == Event::ExecutionFailed);
    for (execution, _) in (0..).zip(&world.rows).filter(|(_, row)| has_failed(row)) {
        actions.push(Action::Reopen { execution });
    }
}

/// Everything has ended, and nobody believes otherwise.
pub fn is_over(world: &World) -> bool {
    world.drives.is_empty() && world.rows.iter().all(|row| row.status.is_final())
}

fn workers(world: &World, actions: &mut Vec<Action>) {
    for (worker, _) in (0..).zip(&world.workers).filter(|(_, worker)| !worker.is_frozen) {
        for (execution, _) in (0..).zip(&world.rows).filter(|(_, row)| row.is_claimable()) {
            actions.push(Action::Claim { worker, execution, is_lost: false });
            if 0 < world.left.losses {
                actions.push(Action::Claim { worker, execution, is_lost: true });
            }
        }
        if 1 < members(world, worker).len() {
            actions.push(Action::Group { worker, is_lost: false });
            if 0 < world.left.losses {
                actions.push(Action::Group { worker, is_lost: true });
            }
        }
        if world.worker(worker).lock != Lock::Held {
            actions.push(Action::Regain { worker });
        }
    }
    for drive in &world.drives {
        if !world.worker(drive.worker).is_frozen {
            driver(world, drive, actions);
        }
    }
}

fn driver(world: &World, drive: &Drive, actions: &mut Vec<Action>) {
    let (key, left) = (drive.key, &world.left);
    if drive.renewal.is_some() {
        actions.push(Action::Renewed(key));
    } else if 0 < left.renewals || needs_renewal(drive) {
        actions.push(Action::Renew(key));
    }
    if drive.state.is_none() {
        actions.push(Action::Load(key));
        if 0 < left.set_asides {
            actions.push(Action::SetAside(key));
        }
        return;
    }
    call(world, drive, actions);
    if drive.pending.is_some() {
        actions.push(Action::Commit { key, is_lost: false });
        if 0 < left.losses {
            actions.push(Action::Commit { key, is_lost: true });
        }
        return;
    }
    let row = world.row(key.execution);
    if drive.signals_done < row.signals_in() {
        actions.push(Action::Listen(key));
    }
    if drive.heard || !drive.happened.is_empty() || drive.call == Out::Nothing {
        actions.push(Action::Turn(key));
    }
    let is_home = [Event::AttemptSucceeded, Event::AttemptFailed]
        .iter()
        .any(|event| drive.happened.contains(event));
    if 0 < left.hand_backs && (is_home || drive.call != Out::Nothing) {
        actions.push(Action::HandBack(key));
    }
}

fn call(world: &World, drive: &Drive, actions: &mut Vec<Action>) {
    let (key, left) = (drive.key, &world.left);
    match drive.call {
        Out::Ready if drive.age < FRESH && world.worker(drive.worker).lock == Lock::Held => {
            actions.push(Action::Send { key, is_done: true });
            if 0 < left.failures {
                actions.push(Action::Send { key, is_done: false });
            }
        }
        Out::Ready if 0 < left.held_back && drive.pending.is_none() => {
            actions.push(Action::HoldBack(key));
        }
        // What comes home while a turn is being written is noted after it.
        Out::Sent { .. } if drive.pending.is_none() => actions.push(Action::Answer(key)),
        Out::Nothing | Out::Ready | Out::Sent { .. } => {}
    }
}

fn outside(world: &World, actions: &mut Vec<Action>) {
    for (execution, row) in (0..).zip(&world.rows) {
        if !row.told {
            actions.push(Action::Tell { execution, word: Word::Go });
        }
        if row.status.is_final() {
            continue;
        }
        if 0 < world.left.noise {
            actions.push(Action::Tell { execution, word: Word::Noise });
        }
        let mut said = row.signals.iter().rev();
        if said.find(|signal| matches!(signal, Signal::Pause | Signal::Resume))
            == Some(&Signal::Pause)
        {
            actions.push(Action::Resume { execution });
        } else if 0 < world.left.pauses {
            actions.push(Action::Pause { execution });
        }
        person(world, execution, row, actions);
    }
}

/// A person who sees an uncertain call looks into the tool's ledger, and says what stands there.
fn person(world: &World, execution: u8, row: &Row, actions: &mut Vec<Action>) {
    let Ok(state) = State::of(row.history()) else { return };
    if !state.is_uncertain() {
        return;
    }
    let generation = state.generation;
    let said = |signal: &&Signal| matches!(signal, Signal::Resolve { generation: of, .. } if *of == generation);
    if row.signals.iter().filter(said).count() == 0 || 0 < world.left.opinions {
        let happened = row.effects != 0;
        let resolution = if happened { Resolution::Completed } else { Resolution::Retry };
        actions.push(Action::Resolve { execution, generation, resolution });
    }
}

fn faults(world: &World, actions: &mut Vec<Action>) {
    for (worker, it) in (0..).zip(&world.workers) {
        if it.is_frozen {
            actions.push(Action::Thaw { worker });
        }
        let is_busy = world.drives.iter().any(|drive| drive.worker == worker)
            || world.rows.iter().any(|row| row.owner == Some(it.name));
        if !is_busy {
            continue;
        }
        if 0 < world.left.crashes {
            actions.push(Action::Crash { worker });
        }
        if 0 < world.left.freezes && !it.is_frozen {
            actions.push(Action::Freeze { worker });
        }
        if 0 < world.left.absences && it.lock == Lock::Held {
            actions.push(Action::Lose { worker });
        }
    }
    expiries(world, actions);
}

fn expiries(world: &World, actions: &mut Vec<Action>) {
    let is_safe = |name| {
        let mut living = world.workers.iter();
        living.any(|worker| worker.name == name && worker.lock != Lock::Missing)
    };
    let mut seen = Vec::new();
    for name in world.rows.iter().filter(|row| 0 < row.lease).filter_map(|row| row.owner) {
        if !is_safe(name) && !seen.contains(&name) {
            seen.push(name);
            actions.push(Action::Expire { name });
        }
    }
}

fn time_matters(world: &World) -> bool {
    world.rows.iter().any(|row| 0 < row.lease || row.wake == Wake::Soon)
        || world.drives.iter().any(|drive| {
            drive.age < FRESH || drive.renewal.is_some_and(|renewal| renewal.age < FRESH)
        })
}
