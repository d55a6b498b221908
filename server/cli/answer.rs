//! `windlass answer`, `windlass approve` and `windlass reject`: what a person says to a request.

use serde_json::Value;
use windlass_engine::Answer as Said;

use super::{
    arguments::{Answer, Decide},
    ask, caller,
    failure::{Exit, Failure},
    input,
    session::Session,
    status,
};
use crate::{
    app::{App, RequestView},
    host::Drive,
};

/// Whoever types is who they say they are, and nobody can know it for sure.
pub(super) const VERIFIED: bool = false;

pub(super) async fn run(session: &Session, arguments: Answer) -> Result<Exit, Failure> {
    // The execution goes on, so a worker is started where none lives.
    let host = session.host(Drive::Detached).await?;
    let answered = answer(session, &host.app, arguments).await;
    host.stop().await;
    answered
}

async fn answer(session: &Session, app: &App, arguments: Answer) -> Result<Exit, Failure> {
    let request = app.request(&arguments.request).await?;
    let said = match said(&arguments, &request)? {
        Some(said) => said,
        None if ask::can_ask(session) => match ask::answer(&request).await? {
            Some(said) => said,
            None => return Ok(Exit::Waiting),
        },
        None => {
            let message = "the answer is missing";
            let help = "give --approve, --reject, --value KEY=VALUE or --values JSON; in a terminal you are asked";
            return Err(Failure::usage(message).help(help));
        }
    };
    let execution = app.answer(&caller(), &request.request_id, said, VERIFIED).await?;
    status::show(session, &execution);
    Ok(Exit::Done)
}

/// What the command line says, if it says anything.
fn said(arguments: &Answer, request: &RequestView) -> Result<Option<Said>, Failure> {
    let comment = arguments.comment.clone();
    if arguments.approve {
        return Ok(Some(Said::Approved { comment }));
    }
    if arguments.reject {
        return Ok(Some(Said::Rejected { comment }));
    }
    if arguments.value.is_empty() && arguments.values.is_none() {
        return Ok(None);
    }
    if comment.is_some() {
        return Err(Failure::usage("--comment goes with --approve or --reject"));
    }
    let schema = request.schema.as_ref().unwrap_or(&Value::Null);
    let given = arguments.values.as_deref();
    let values = input::read("--values", schema, given, &arguments.value)?;
    Ok(Some(Said::Given { values: Value::Object(values) }))
}

pub(super) async fn decide(
    session: &Session,
    arguments: Decide,
    approve: bool,
) -> Result<Exit, Failure> {
    let Decide { request, message: comment } = arguments;
    let said = match approve {
        true => Said::Approved { comment },
        false => Said::Rejected { comment },
    };
    let host = session.host(Drive::Detached).await?;
    let execution = host.app.answer(&caller(), &request, said, VERIFIED).await;
    host.stop().await;
    status::show(session, &execution?);
    Ok(Exit::Done)
}
