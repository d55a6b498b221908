//! What the tests of the doors share: databases, projects, clients, and waiting with an end.
//!
//! ```ignore
//! let project = Project::new().workflow("hello", "name: hello\nsteps: …");
//! let mut client = project.client(&["serve"]);
//! client.initialize();
//! let result = client.call("workflow.run", json!({ "workflow": "hello" }));
//! ```

mod client;
mod executions;
mod http;
mod postgres;
mod process;
mod proxy;
mod windlass;

use std::{
    thread,
    time::{Duration, Instant},
};

pub use client::{Client, signed, text_of};
pub use executions::{begin, settled};
pub use http::{Answer, client as http_client, delete, get, post};
pub use postgres::{Cluster, database};
pub use process::{Ended, Running, limit_files, run};
pub use proxy::Proxy;
pub use windlass::{HttpServer, Project};

/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks until there is something to see, and panics with `what` when the deadline passes first.
///
/// For state that nobody announces: a file that appears, a row that changes, a process that ends.
pub fn eventually<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a future from a test that is not async, or from inside one that is.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime of one thread can always be built").block_on(future)
    };
    // On a thread of its own: a runtime refuses to start inside another one.
    thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
