//! `windlass resolve`: settles an uncertain step by hand.

use super::{
    arguments::{How, Resolve},
    caller,
    failure::{Exit, Failure},
    input,
    session::Session,
    status,
};
use crate::{app::Resolution, host::Drive};

pub(super) async fn run(session: &Session, arguments: Resolve) -> Result<Exit, Failure> {
    let Resolve { id, step, how } = arguments;
    let resolution = resolution(how)?;
    // The execution goes on, so a worker is started where none lives.
    let host = session.host(Drive::Detached).await?;
    let resolved = host.app.resolve(&caller(), &id, &step, resolution).await;
    host.stop().await;
    status::show(session, &resolved?);
    Ok(Exit::Done)
}

fn resolution(how: How) -> Result<Resolution, Failure> {
    match how {
        How { result: Some(result), .. } => {
            Ok(Resolution::Completed(input::json("--result", &result)?))
        }
        How { failed: Some(message), .. } => Ok(Resolution::Failed(message)),
        How { result: None, retry: _, failed: None } => Ok(Resolution::Retry),
    }
}
