//! What running takes besides time: commits, bytes, and the processors' time of everybody who is part of it.

use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::{Value, json};

use crate::store::{self, Counts, Store};

/// What was used up to one moment. Where the system does not tell, nothing is guessed.
pub(super) struct Costs {
    counts: Counts,
    own: Duration,
    /// By process: the tool servers that this one has started, with all that they started.
    tool_servers: Option<BTreeMap<i64, u64>>,
    /// By process, where the database's server runs on this machine.
    postgres: Option<BTreeMap<i64, u64>>,
}

/// What was used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) statements: u64,
    pub(super) commits: u64,
    pub(super) wal_bytes: Option<i64>,
    pub(super) own_ms: f64,
    pub(super) tool_servers_ms: Option<f64>,
    pub(super) postgres_ms: Option<f64>,
}

impl Costs {
    pub(super) async fn now(store: &Store) -> Result<Costs, store::Error> {
        let servers = store.server_processes().await?;
        Ok(Costs {
            counts: store.counts().await?,
            own: own_time(),
            tool_servers: descendants(i64::from(std::process::id())),
            postgres: times_of(&servers, "postgres"),
        })
    }

    /// What was used since an earlier moment.
    pub(super) fn since(&self, earlier: &Costs) -> Used {
        let wal = |later: i64| earlier.counts.wal_bytes.map(|before| later - before);
        Used {
            statements: self.counts.statements - earlier.counts.statements,
            commits: self.counts.commits - earlier.counts.commits,
            wal_bytes: self.counts.wal_bytes.and_then(wal),
            own_ms: self.own.saturating_sub(earlier.own).as_secs_f64() * 1000.0,
            tool_servers_ms: grown(&earlier.tool_servers, &self.tool_servers),
            postgres_ms: grown(&earlier.postgres, &self.postgres),
        }
    }
}

impl Used {
    /// For each of so many executions.
    pub(super) fn per_execution(&self, executions: usize) -> Value {
        let each = |sum: f64| rounded(sum / executions.max(1) as f64);
        json!({
            "commits_per_execution": each(self.commits as f64),
            "statements_per_execution": each(self.statements as f64),
            "wal_bytes_per_execution": self.wal_bytes.map(|bytes| each(bytes as f64).round()),
            "cpu_ms_per_execution": each(self.own_ms),
            "tool_server_cpu_ms_per_execution": self.tool_servers_ms.map(each),
            "postgres_cpu_ms_per_execution": self.postgres_ms.map(each),
        })
    }
}

/// To the third place.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// How much memory this process holds, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The processors' time that this process has had.
fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A process as the kernel describes it.
struct Process {
    name: String,
    parent: i64,
    /// Its own time and that of its children that have ended, in milliseconds.
    time: u64,
}

fn process(id: i64) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name stands in parentheses and may hold any character.
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // utime, stime, cutime and cstime; a tick is a hundredth of a second on every Linux there is.
    let ticks = (11..15).map(number).sum::<Option<u64>>()?;
    Some(Process { name, parent: fields.get(1)?.parse().ok()?, time: ticks * 10 })
}

/// The times of a process's descendants; `None` without any, or where the system has no such list.
fn descendants(root: i64) -> Option<BTreeMap<i64, u64>> {
    process(root)?;
    let ids = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: BTreeMap<i64, Process> = ids.filter_map(|id| Some((id, process(id)?))).collect();
    let is_below = |mut id: i64| {
        while let Some(process) = all.get(&id) {
            if process.parent == root {
                return true;
            }
            id = process.parent;
        }
        false
    };
    let below = all.iter().filter(|(id, _)| is_below(**id));
    Some(below.map(|(id, process)| (*id, process.time)).collect())
        .filter(|times: &BTreeMap<_, _>| !times.is_empty())
}

/// The times of those of these processes that are on this machine and have that name; `None` where none is.
fn times_of(ids: &[i64], name: &str) -> Option<BTreeMap<i64, u64>> {
    let times = ids.iter().filter_map(|id| {
        let process = process(*id).filter(|process| process.name == name)?;
        Some((*id, process.time))
    });
    Some(times.collect()).filter(|times: &BTreeMap<_, _>| !times.is_empty())
}

/// How much was added, in milliseconds. Who came in between began with nothing.
fn grown(earlier: &Option<BTreeMap<i64, u64>>, later: &Option<BTreeMap<i64, u64>>) -> Option<f64> {
    let (earlier, later) = (earlier.as_ref()?, later.as_ref()?);
    let added = later
        .iter()
        .map(|(id, time)| time.saturating_sub(earlier.get(id).copied().unwrap_or_default()));
    Some(added.sum::<u64>() as f64)
}
