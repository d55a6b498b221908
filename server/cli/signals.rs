//! Ctrl-C and its relatives.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when the process is asked to end: Ctrl-C or SIGTERM.
pub(super) async fn interrupted() {
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
    }
}

/// From here on a closed terminal does not end the process.
pub(super) fn outlive_the_terminal() -> std::io::Result<()> {
    // tokio keeps its handler for as long as the process lives, listened to or not.
    signal(SignalKind::hangup()).map(drop)
}

/// Waits for a signal; for ever where it cannot be caught, so that its usual effect stays.
async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}
