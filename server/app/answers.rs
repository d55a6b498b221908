//! What persons answer, and what else they tell an execution.

use serde_json::Value;
use windlass_engine::{Answer, InputSchema, Request, RequestKind};

use super::{App, Caller, Detail, Error, Execution, RequestView, has_ended, sealed};
use crate::{
    bell::Ring,
    fault,
    store::{Answered, RequestRow, Said, Signal, request},
};

/// Principals that stand for whoever comes: over stdio and at the terminal, and over HTTP without a token.
const UNKNOWN: [&str; 2] = [Caller::LOCAL, Caller::HTTP];

/// How many open requests are listed.
const LISTED: u32 = 100;

impl App {
    /// Answers a request; `verified` when it is known for sure who the caller is.
    ///
    /// # Errors
    /// When there is no such request, it is not open any more, the caller may not answer it, or the answer does not
    /// fit; says which, and what would.
    pub async fn answer(
        &self,
        caller: &Caller,
        request_id: &str,
        answer: Answer,
        verified: bool,
    ) -> Result<Execution, Error> {
        let store = &self.inner.store;
        let row = store.request(request_id).await?;
        let row = row.ok_or_else(|| Error::UnknownRequest(request_id.to_owned()))?;
        let (asked, said) = request::read(&row)?;
        let now = store.now();
        check_open(&row, &asked, &said, &caller.name, now)?;
        self.check_person(caller, &row, &asked, verified)?;
        let answer = fitting(&asked, answer)?;
        let version = store.version(&row.execution_id).await?.unwrap_or_default();
        fault::point("before_answer");
        let answered = store.answer(request_id, &caller.name, verified, &answer).await?;
        fault::point("after_answer");
        match answered {
            Answered::Heard => {}
            Answered::Unknown => return Err(Error::UnknownRequest(request_id.to_owned())),
            Answered::TooLate(row) => {
                let (asked, said) = request::read(&row)?;
                check_open(&row, &asked, &said, &caller.name, now)?;
                let execution = self.row(&row.execution_id).await?;
                return Err(has_ended(&execution.id, &execution.status));
            }
        }
        self.inner.driver.ensure().await;
        self.inner.bell.ring(Ring::Due(row.execution_id.as_str().into()));
        self.changed(&row.execution_id, version, super::SIGNAL_PATIENCE, Detail::Steps).await
    }

    /// The open requests, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn requests(&self, _caller: &Caller) -> Result<Vec<RequestView>, Error> {
        let rows = self.inner.store.open_requests(LISTED).await?;
        rows.iter().map(view).collect()
    }

    /// One request, whether it is open or not.
    ///
    /// # Errors
    /// When there is no such request in this workspace.
    pub async fn request(&self, request_id: &str) -> Result<RequestView, Error> {
        let row = self.inner.store.request(request_id).await?;
        view(&row.ok_or_else(|| Error::UnknownRequest(request_id.to_owned()))?)
    }

    /// Tells an execution that something happened. A step that waits for it goes on; otherwise the next one that will.
    ///
    /// # Errors
    /// When there is no such execution, or it has ended.
    pub async fn send_event(
        &self,
        caller: &Caller,
        execution_id: &str,
        name: &str,
        data: Value,
    ) -> Result<Execution, Error> {
        let row = self.row(execution_id).await?;
        if name.is_empty() {
            return Err(Error::Refused(
                "an event has a name; give the one that is waited for".into(),
            ));
        }
        super::check_depth(&data)?;
        let (name, by) = (name.to_owned(), caller.name.clone());
        self.signal(&row, &Signal::Event { name, data, by }).await
    }

    fn check_person(
        &self,
        caller: &Caller,
        row: &RequestRow,
        asked: &Request,
        verified: bool,
    ) -> Result<(), Error> {
        let (id, name) = (&row.id, &caller.name);
        if !asked.approvers.is_empty() && !asked.approvers.contains(name) {
            let approvers = asked.approvers.join(", ");
            return Err(Error::Refused(format!(
                "{name} may not answer {id}; only these may: {approvers}. Who answers at a terminal or over stdio is \
                 {}, over HTTP token, without a token {}",
                Caller::LOCAL,
                Caller::HTTP
            )));
        }
        if asked.verified && !verified {
            return Err(Error::Refused(format!(
                "{id} takes an answer only from a person whose identity is verified, and nobody knows for sure who \
                 {name} is here; answer over HTTP with the server's token"
            )));
        }
        // Whoever types at the terminal of the machine is another one than the agent that works there.
        // Those whom nobody knows may be one and the same, whichever door they come by.
        let is_unknown = |name: &str| UNKNOWN.contains(&name);
        let may_be_same = !verified && is_unknown(name) && is_unknown(&row.requested_by);
        let started_it = row.requested_by == *name || may_be_same;
        if started_it && !caller.at_terminal && !asked.allow_self && !self.inner.agents_may_answer {
            let command = match asked.kind {
                RequestKind::Approval => "approve",
                RequestKind::Form => "answer",
            };
            let started = if row.requested_by == *name { "started" } else { "may have started" };
            return Err(Error::Refused(format!(
                "{name} {started} the execution and may not answer {id}: ask a person, who answers with `windlass \
                 {command} {id}` or as somebody else (approvals.agents_may_answer = true in the configuration, or allowSelf: true in \
                 the workflow, lift this)"
            )));
        }
        Ok(())
    }
}

/// Whether anybody may answer, and this person still.
fn check_open(
    row: &RequestRow,
    asked: &Request,
    said: &[Said],
    person: &str,
    now: i64,
) -> Result<(), Error> {
    let id = &row.id;
    let by = || row.answered_by.clone().or_else(|| said.last().map(|said| said.by.clone()));
    let at = row.answered_at.or_else(|| said.last().map(|said| said.at)).unwrap_or(now);
    let ago = ago(now - at);
    let reason = match row.status.as_str() {
        "answered" => format!("{id} was answered by {}, {ago}", by().unwrap_or_default()),
        "expired" => format!("the time to answer {id} was over {ago}"),
        "withdrawn" => format!("{id} was withdrawn {ago}: its step or its execution has ended"),
        _ if row.expires_at <= now => format!("the time to answer {id} is over"),
        _ if request::is_settled(asked, said) => {
            format!("{id} was answered by {}, {ago}", by().unwrap_or_default())
        }
        _ if said.iter().any(|said| said.by == person) => {
            let left = (asked.quorum as usize).saturating_sub(said.len());
            format!(
                "{person} has answered {id} before; {left} more have to agree, each of them once"
            )
        }
        _ => return Ok(()),
    };
    Err(Error::Refused(format!("{reason}; execution {} says how it stands", row.execution_id)))
}

/// The answer as it is written down: values have their defaults applied.
fn fitting(asked: &Request, answer: Answer) -> Result<Answer, Error> {
    match (asked.kind, answer) {
        (_, rejected @ Answer::Rejected { .. })
        | (RequestKind::Approval, rejected @ Answer::Approved { .. }) => Ok(rejected),
        (RequestKind::Approval, Answer::Given { .. }) => Err(Error::Refused(format!(
            "{} is an approval: approve or reject it; it takes no values",
            asked.id
        ))),
        (RequestKind::Form, Answer::Approved { .. }) => Err(Error::Refused(format!(
            "{} asks for values: give them, or reject it{}",
            asked.id,
            asked
                .schema
                .as_ref()
                .map(|schema| format!("; their schema: {schema}"))
                .unwrap_or_default()
        ))),
        (RequestKind::Form, Answer::Given { values }) => {
            let schema = asked.schema.as_ref().map_or(Ok(InputSchema::any()), InputSchema::compile);
            let schema = schema.map_err(Error::Refused)?;
            match schema.accept(values) {
                Ok(values) => Ok(Answer::Given { values }),
                Err(problems) => Err(Error::InvalidAnswer { request: asked.id.clone(), problems }),
            }
        }
    }
}

/// A request as those see it who may answer.
pub(super) fn view(row: &RequestRow) -> Result<RequestView, Error> {
    let (asked, said) = request::read(row)?;
    Ok(sealed::request(RequestView {
        request_id: row.id.clone(),
        execution_id: row.execution_id.clone(),
        workflow: row.workflow.clone(),
        step: row.step.clone(),
        status: row.status.clone(),
        kind: match asked.kind {
            RequestKind::Approval => "approval".to_owned(),
            RequestKind::Form => "form".to_owned(),
        },
        message: asked.message,
        schema: asked.schema,
        tool: asked.tool.map(|tool| tool.to_string()),
        params: asked.params,
        requested_by: row.requested_by.clone(),
        approvers: asked.approvers,
        quorum: asked.quorum,
        agreed: said.into_iter().map(|said| said.by).collect(),
        verified: asked.verified,
        escalated: asked.escalated,
        created_at: row.created_at,
        expires_at: row.expires_at,
    }))
}

fn ago(ms: i64) -> String {
    match ms / 1_000 {
        seconds if seconds < 1 => "just now".to_owned(),
        seconds if seconds < 120 => format!("{seconds} s ago"),
        seconds if seconds < 7_200 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3_600),
    }
}
