//! `windlass cancel`: asks for an execution to be cancelled.

use super::{
    arguments::Cancel,
    caller,
    failure::{Exit, Failure},
    session::Session,
    status,
};
use crate::host::Drive;

pub(super) async fn run(session: &Session, arguments: Cancel) -> Result<Exit, Failure> {
    let Cancel { id, reason } = arguments;
    // Somebody must carry it out, so a worker is started where none lives.
    let host = session.host(Drive::Detached).await?;
    let cancelled = host.app.cancel(&caller(), &id, reason).await;
    host.stop().await;
    status::show(session, &cancelled?);
    Ok(Exit::Done)
}
