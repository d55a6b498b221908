//! Ctrl-C and its relatives.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when the process is asked to end: Ctrl-C or SIGTERM. Whoever asks later than now is heard.
pub(super) fn interrupted() -> impl Future<Output = ()> {
    let (interrupt, terminate) =
        (received(SignalKind::interrupt()), received(SignalKind::terminate()));
    async {
        tokio::select! {
            () = interrupt => {}
            () = terminate => {}
        }
    }
}

/// From here on a closed terminal does not end the process.
pub(super) fn outlive_the_terminal() -> std::io::Result<()> {
    // tokio keeps its handler for as long as the process lives, listened to or not.
    signal(SignalKind::hangup()).map(drop)
}

/// Catches a signal from now on, and waits for it; for ever where it cannot be caught, so that its usual effect stays.
fn received(kind: SignalKind) -> impl Future<Output = ()> {
    let signals = signal(kind);
    async {
        match signals {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    }
}
