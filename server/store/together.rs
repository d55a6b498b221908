//! Reads that are wanted at the same moment share a statement.
//!
//! What is wanted when little is under way is read at once; what is wanted meanwhile is read together, by the next
//! statement. So nobody is told what was so before he asked.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::Result;

/// How many statements may be under way at once.
const MOST_STATEMENTS: usize = 2;

/// How many keys one statement asks for at most.
const MOST_KEYS: usize = 256;

/// Reads the rows that some keys have; each with its key.
type Read<V> =
    Box<dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Vec<(String, V)>>> + Send + Sync>;

/// What is read together; cheap to clone.
pub(super) struct Together<V> {
    inner: Arc<Inner<V>>,
}

struct Inner<V> {
    read: Read<V>,
    queue: Mutex<Queue<V>>,
}

struct Queue<V> {
    wanted: Vec<Wanted<V>>,
    under_way: usize,
}

struct Wanted<V> {
    key: String,
    /// The row, or that there is none; closed when it could not be read.
    answer: oneshot::Sender<Option<V>>,
}

impl<V> Clone for Together<V> {
    fn clone(&self) -> Together<V> {
        Together { inner: Arc::clone(&self.inner) }
    }
}

impl<V: Clone + Send + 'static> Together<V> {
    pub(super) fn new<F>(read: impl Fn(Vec<String>) -> F + Send + Sync + 'static) -> Together<V>
    where
        F: Future<Output = Result<Vec<(String, V)>>> + Send + 'static,
    {
        let read: Read<V> = Box::new(move |keys| Box::pin(read(keys)));
        let queue = Mutex::new(Queue { wanted: Vec::new(), under_way: 0 });
        Together { inner: Arc::new(Inner { read, queue }) }
    }

    /// The row that the key has, as it is now.
    pub(super) async fn get(&self, key: &str) -> Result<Option<V>> {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut queue = self.inner.queue();
            queue.wanted.push(Wanted { key: key.to_owned(), answer });
            let begins = queue.under_way < MOST_STATEMENTS;
            queue.under_way += usize::from(begins);
            begins
        };
        if begins {
            let inner = Arc::clone(&self.inner);
            // Not in the caller's own future: it may be dropped, and others wait for the same statement.
            tokio::spawn(async move { inner.work_off().await });
        }
        match answered.await {
            Ok(row) => Ok(row),
            // Who asks alone is told what was wrong.
            Err(_) => Ok((self.inner.read)(vec![key.to_owned()]).await?.pop().map(|(_, row)| row)),
        }
    }
}

impl<V: Clone> Inner<V> {
    fn queue(&self) -> MutexGuard<'_, Queue<V>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads for as long as something is wanted.
    async fn work_off(&self) {
        let under_way = UnderWay(self);
        // Who is about to ask, too, comes along.
        tokio::task::yield_now().await;
        loop {
            let Some(wanted) = self.queue().next() else {
                // Its place was given back under the lock: whoever asks from now on begins a statement.
                return mem::forget(under_way);
            };
            let mut keys: Vec<String> = wanted.iter().map(|one| one.key.clone()).collect();
            keys.sort_unstable();
            keys.dedup();
            match (self.read)(keys).await {
                Ok(rows) => tell(wanted, &rows.into_iter().collect()),
                Err(err) => tracing::debug!("{} reads are done one by one: {err}", wanted.len()),
            }
        }
    }
}

/// Gives the place of a statement back when reading panics.
struct UnderWay<'i, V>(&'i Inner<V>);

impl<V> Drop for UnderWay<'_, V> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.under_way -= 1;
        if queue.under_way == 0 {
            // Nobody is left to read them together: each is read alone.
            queue.wanted.clear();
        }
    }
}

impl<V> Queue<V> {
    /// What to read next; the place of the statement is given back when there is nothing.
    fn next(&mut self) -> Option<Vec<Wanted<V>>> {
        if self.wanted.is_empty() {
            self.under_way -= 1;
            return None;
        }
        let rest = self.wanted.split_off(self.wanted.len().min(MOST_KEYS));
        Some(mem::replace(&mut self.wanted, rest))
    }
}

fn tell<V: Clone>(wanted: Vec<Wanted<V>>, rows: &HashMap<String, V>) {
    for Wanted { key, answer } in wanted {
        // Whoever asked may have gone.
        _ = answer.send(rows.get(&key).cloned());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;
    use crate::store::Error;

    /// Knows every key but "none", and answers a statement only when it may.
    fn slow(may: &Arc<Semaphore>, statements: &Arc<Mutex<Vec<Vec<String>>>>) -> Together<String> {
        let (may, statements) = (Arc::clone(may), Arc::clone(statements));
        Together::new(move |keys: Vec<String>| {
            let may = Arc::clone(&may);
            statements.lock().unwrap().push(keys.clone());
            async move {
                may.acquire().await.unwrap().forget();
                let known = keys.into_iter().filter(|key| key != "none");
                Ok(known.map(|key| (key.clone(), format!("row of {key}"))).collect())
            }
        })
    }

    #[tokio::test]
    async fn what_is_wanted_while_others_are_answered_shares_the_next_statement() {
        let (may, statements) = (Arc::new(Semaphore::new(0)), Arc::default());
        let together = slow(&may, &statements);
        let mut asking = Vec::new();
        for key in ["a", "b", "c", "none", "c", "d"] {
            let together = together.clone();
            asking.push(tokio::spawn(async move { together.get(key).await.unwrap() }));
            tokio::task::yield_now().await;
        }
        may.add_permits(10);
        let mut rows = Vec::new();
        for asked in asking {
            rows.push(asked.await.unwrap());
        }
        let row = |key: &str| Some(format!("row of {key}"));
        assert_eq!(rows, [row("a"), row("b"), row("c"), None, row("c"), row("d")]);
        let statements = statements.lock().unwrap().clone();
        assert_eq!(statements, [vec!["a"], vec!["b"], vec!["c", "d", "none"]]);
        assert_eq!(together.inner.queue().under_way, 0);
    }

    #[tokio::test]
    async fn what_fails_together_is_read_alone() {
        let together = Together::new(|keys: Vec<String>| async move {
            match keys.as_slice() {
                [key] if key != "bad" => Ok(vec![(key.clone(), key.clone())]),
                _ => Err(Error::Older),
            }
        });
        let (good, other, bad) =
            tokio::join!(together.get("good"), together.get("other"), together.get("bad"));
        assert_eq!((good.unwrap(), other.unwrap()), (Some("good".into()), Some("other".into())));
        assert!(bad.is_err(), "who asks alone is told");
    }

    #[tokio::test]
    async fn a_panic_leaves_nobody_waiting() {
        let panics = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&panics);
        let together = Together::new(move |keys: Vec<String>| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                assert!(!first, "the first statement panics");
                Ok(keys.into_iter().map(|key| (key, 1)).collect())
            }
        });
        assert_eq!(together.get("a").await.unwrap(), Some(1));
        assert_eq!(together.get("b").await.unwrap(), Some(1));
        assert_eq!(panics.load(Ordering::Relaxed), 3);
    }
}
