//! Servers on one database, that are killed, stopped and started again.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::observer::Observer;
use crate::{
    durability::Scene,
    harness::{HttpServer, SOON, eventually},
};

/// How the server of a number is started.
pub(super) type Start<'s> = &'s (dyn Fn(&Scene, usize) -> HttpServer + Sync);

/// Starts a server as everybody does.
pub(super) fn plain(scene: &Scene, _: usize) -> HttpServer {
    scene.project.serve_http()
}

/// The servers of one scene. All are killed when this is dropped.
pub(super) struct Fleet<'s> {
    scene: &'s Scene,
    start: Start<'s>,
    slots: Mutex<Vec<Slot>>,
    known: Mutex<BTreeSet<String>>,
    observer: Mutex<Observer>,
    pub(super) kills: AtomicUsize,
}

struct Slot {
    server: Option<HttpServer>,
    /// The worker's id, by which its leases are known.
    worker: Option<String>,
    paused: bool,
}

impl<'s> Fleet<'s> {
    /// Starts so many servers; `observed` is the database's address as the test itself sees it.
    pub(super) fn start(
        scene: &'s Scene,
        count: usize,
        start: Start<'s>,
        observed: &str,
    ) -> Fleet<'s> {
        let slots = (0..count).map(|_| Slot { server: None, worker: None, paused: false });
        let fleet = Fleet {
            scene,
            start,
            slots: Mutex::new(slots.collect()),
            known: Mutex::default(),
            observer: Mutex::new(Observer::at(observed)),
            kills: AtomicUsize::new(0),
        };
        (0..count).for_each(|index| fleet.revive(index));
        fleet
    }

    /// The addresses of those that should answer.
    pub(super) fn addresses(&self) -> Vec<String> {
        let slots = self.slots.lock().unwrap();
        let awake = slots.iter().filter(|slot| !slot.paused);
        awake.filter_map(|slot| Some(slot.server.as_ref()?.address.clone())).collect()
    }

    /// Kills a server as a power cut would. The time that its leases would still hold is over at once.
    pub(super) fn kill(&self, index: usize) {
        let (server, worker) = {
            let slot = &mut self.slots.lock().unwrap()[index];
            slot.paused = false;
            (slot.server.take(), slot.worker.take())
        };
        let Some(mut server) = server else { return };
        server.process.kill();
        self.kills.fetch_add(1, Ordering::Relaxed);
        if let Some(worker) = worker {
            let sql = format!(
                "UPDATE executions SET lease_until = 0, wake_at = 0 WHERE lease_owner = '{worker}'"
            );
            self.observer.lock().unwrap().execute(&sql);
        }
    }

    /// Starts a server where none is.
    pub(super) fn revive(&self, index: usize) {
        if self.slots.lock().unwrap()[index].server.is_some() {
            return;
        }
        let server = (self.start)(self.scene, index);
        let worker = self.newest_worker();
        let slot = &mut self.slots.lock().unwrap()[index];
        (slot.server, slot.worker) = (Some(server), Some(worker));
    }

    /// Stops a server where it is; it keeps what it has, and does nothing.
    pub(super) fn pause(&self, index: usize) {
        let slot = &mut self.slots.lock().unwrap()[index];
        slot.paused = true;
        slot.server.as_ref().unwrap().process.pause();
    }

    /// Lets it go on.
    pub(super) fn resume(&self, index: usize) {
        let slot = &mut self.slots.lock().unwrap()[index];
        slot.server.as_ref().unwrap().process.resume();
        slot.paused = false;
    }

    /// What a server has said on standard error.
    pub(super) fn said(&self, index: usize) -> String {
        let slots = self.slots.lock().unwrap();
        slots[index].server.as_ref().map(|server| server.process.stderr()).unwrap_or_default()
    }

    /// Lets the test act on one server's process.
    pub(super) fn process_id(&self, index: usize) -> u32 {
        self.slots.lock().unwrap()[index].server.as_ref().unwrap().process.id()
    }

    /// The worker that has just begun. One server starts at a time, so it is the only new one.
    fn newest_worker(&self) -> String {
        let mut known = self.known.lock().unwrap();
        let worker = eventually(3 * SOON, "the worker of a new server", || {
            std::thread::sleep(Duration::from_millis(20));
            let workers = self.observer.lock().unwrap().texts("id", "workers");
            workers.into_iter().find(|worker| !known.contains(worker))
        });
        known.insert(worker.clone());
        worker
    }
}
