//! `windlass signal`: tells an execution that something happened.

use serde_json::Value;

use super::{
    arguments::Signal,
    caller,
    failure::{Exit, Failure},
    input,
    session::Session,
    status,
};
use crate::host::Drive;

pub(super) async fn run(session: &Session, arguments: Signal) -> Result<Exit, Failure> {
    let Signal { id, event, data } = arguments;
    let data = data.map(|data| input::json("--data", &data)).transpose()?;
    // The execution goes on, so a worker is started where none lives.
    let host = session.host(Drive::Detached).await?;
    let told = host.app.send_event(&caller(), &id, &event, data.unwrap_or(Value::Null)).await;
    host.stop().await;
    status::show(session, &told?);
    Ok(Exit::Done)
}
