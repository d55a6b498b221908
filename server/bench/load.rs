//! Keeps so many executions in flight for a while, and notes how long each took.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::costs::rounded;

/// After so many failures a lane gives up: there is something to be put right first.
const MOST_ERRORS: u64 = 50;

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// What began before this time is over counts.
    Time(Duration),
    /// So many executions.
    Count(u64),
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// How long each completed execution took, from the request to the answer that it has completed, in milliseconds; in
    /// the order of their ends.
    pub latencies: Vec<f64>,
    /// How long it took together, from the first request to the last answer.
    pub elapsed: Duration,
    /// How many executions did not complete.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
}

#[derive(Default)]
struct Seen {
    begun: AtomicU64,
    measured: Mutex<Measured>,
}

impl Measured {
    /// Executions per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        rounded(self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// How long those take that so many of a hundred are faster than, in milliseconds; `None` without any.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().map(rounded)
    }
}

/// Keeps `lanes` executions in flight; each lane begins the next when the one before has ended.
pub(super) async fn keep_busy<F, W>(lanes: usize, until: Until, work: W) -> Measured
where
    W: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let seen = Arc::new(Seen::default());
    let began = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..lanes {
        let (work, seen) = (work.clone(), Arc::clone(&seen));
        all.spawn(async move { lane(began, until, work, &seen).await });
    }
    while let Some(ended) = all.join_next().await {
        if let Err(err) = ended {
            seen.failed(&anyhow::anyhow!("a lane of the benchmark ended: {err}"));
        }
    }
    let mut measured = seen.lock().clone();
    measured.elapsed = began.elapsed();
    measured
}

async fn lane<F: Future<Output = anyhow::Result<()>>>(
    began: Instant,
    until: Until,
    work: impl Fn(u64) -> F,
    seen: &Seen,
) {
    loop {
        let number = seen.begun.fetch_add(1, Ordering::Relaxed);
        let is_over = match until {
            Until::Time(time) => time <= began.elapsed(),
            Until::Count(count) => count <= number,
        };
        if is_over {
            return;
        }
        let asked = Instant::now();
        match work(number).await {
            Ok(()) => seen.lock().latencies.push(asked.elapsed().as_secs_f64() * 1000.0),
            Err(err) if MOST_ERRORS <= seen.failed(&err) => return,
            Err(_) => {}
        }
    }
}

impl Seen {
    fn lock(&self) -> std::sync::MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, err: &anyhow::Error) -> u64 {
        let mut measured = self.lock();
        measured.first_error.get_or_insert_with(|| format!("{err:#}"));
        measured.errors += 1;
        measured.errors
    }
}
