//! `windlass worker`: the process behind the doors, which outlives whoever started it.

use std::io::Read;

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::{
    failure::{Exit, Failure},
    signals,
};
use crate::{config::Config, host};

/// Reads the resolved configuration from standard input, so that it holds here as it did there.
pub(super) fn run() -> Result<Exit, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(anyhow::Error::from)?;
    let config = Config::from_json(&text)?;
    // A process that leads its group already cannot lead a session, and needs none.
    _ = rustix::process::setsid();
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let worked = runtime.block_on(work(&config));
    runtime.shutdown_background();
    worked?;
    Ok(Exit::Done)
}

async fn work(config: &Config) -> anyhow::Result<()> {
    signals::outlive_the_terminal()?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        signals::interrupted().await;
        // What it is driving is handed back, and claimed by the next worker.
        stopper.cancel();
    });
    host::work(config, stop).await
}
