//! One call over MCP: out, heard of, answered; or timed out, cancelled, lost.

use std::time::Duration;

use rmcp::{
    Peer, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelTaskParams, ClientRequest, ErrorData,
        GetTaskParams, GetTaskRequest, GetTaskResult, InputRequests, ServerResult, Task,
        TaskPayload,
    },
    service::{PeerRequestOptions, RequestHandle, ServiceError},
    transport::streamable_http_client::StreamableHttpError,
};
use serde_json::{Map, Value};
use tokio::{
    runtime::Handle,
    sync::oneshot::error::TryRecvError,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Failure, MaySend, Outcome, ToolProgress,
    answer::{self, Answer},
    catalogue::Entry,
    client::ProgressOf,
    connect::http_error,
    connection::Mcp,
    failure::{self, Teller},
    files::Files,
    http,
};

/// How long a goodbye to a call may take that nobody waits for any more.
const CANCEL: Duration = Duration::from_secs(1);
const DEFAULT_POLL: Duration = Duration::from_secs(1);
const SHORTEST_POLL: Duration = Duration::from_millis(50);
const LONGEST_POLL: Duration = Duration::from_secs(30);
/// How servers say that they do not know the session.
const FORGOTTEN_SESSION: &[&str] =
    &["session not found", "invalid session id", "no valid session id provided"];

/// What a call is about, and what ends it.
pub(super) struct Ask<'a> {
    pub(super) entry: &'a Entry,
    pub(super) arguments: Map<String, Value>,
    pub(super) meta: Map<String, Value>,
    pub(super) deadline: Instant,
    /// The bound as the caller gave it, for messages.
    pub(super) bound: Duration,
    pub(super) cancel: &'a CancellationToken,
    pub(super) shutdown: &'a CancellationToken,
    pub(super) may_send: Option<&'a MaySend>,
    /// Where the files go that it answers with.
    pub(super) files: Files<'a>,
    pub(super) progress: &'a (dyn Fn(ToolProgress) + Send + Sync),
}

impl Ask<'_> {
    /// Whether the call may still go out.
    pub(super) async fn may_send(&self) -> bool {
        match self.may_send {
            Some(may_send) => may_send().await,
            None => true,
        }
    }

    /// Waits until nobody wants the answer any more.
    pub(super) async fn stopped(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

/// What a call led to.
pub(super) enum Sent {
    /// The tool server never saw it; another connection may fare better.
    Not(Failure),
    /// It did, or may have.
    Yes(Outcome),
}

/// Why an answer was not waited for any longer.
enum End {
    Answer(Box<Result<ServerResult, ServiceError>>),
    Timeout,
    Cancelled,
    Lost,
}

/// A request that is out. Dropped before its answer came, as when the task of a call is ended because its lease is lost,
/// it still says goodbye: another worker may be about to call the tool again.
struct Out {
    handle: Option<RequestHandle<RoleClient>>,
    /// Retires the connection when a goodbye does not go through.
    deaf: Option<CancellationToken>,
}

/// A task that is followed. Dropped before it is let go, it is cancelled.
struct Followed {
    peer: Peer<RoleClient>,
    id: Option<String>,
}

impl Out {
    /// None when no answer can come any more.
    async fn answer(&mut self) -> Option<Result<ServerResult, ServiceError>> {
        let answer = (&mut self.handle.as_mut()?.rx).await;
        self.handle = None;
        answer.ok()
    }

    async fn end(mut self, reason: &'static str) {
        if let Some(handle) = self.handle.take() {
            say_goodbye(handle, reason, self.deaf.take()).await;
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let Some(mut handle) = self.handle.take() else { return };
        let unanswered = matches!(handle.rx.try_recv(), Err(TryRecvError::Empty));
        // Outside of a runtime there is no connection left either.
        if let (true, Ok(runtime)) = (unanswered, Handle::try_current()) {
            runtime.spawn(say_goodbye(handle, "abandoned", self.deaf.take()));
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) {
            let peer = self.peer.clone();
            runtime.spawn(async move { cancel_task(&peer, &id).await });
        }
    }
}

impl Mcp {
    pub(super) async fn call(&self, ask: &Ask<'_>) -> Sent {
        let mut params = CallToolRequestParams::new(ask.entry.wire_name.clone());
        params.arguments = Some(ask.arguments.clone());
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options().with_meta(ask.meta.clone().into());
        let handle = match self.peer.send_cancellable_request(request, options).await {
            Ok(handle) => handle,
            Err(error) => return Sent::Not(Failure::unavailable(error.to_string())),
        };
        let progress = self.progress.follow(handle.progress_token.clone());
        match self.wait(ask, handle, progress).await {
            End::Answer(answer) => match *answer {
                Ok(result) => Sent::Yes(self.result(ask, result).await),
                Err(error) => Box::pin(self.error(ask, error)).await,
            },
            End::Timeout => Sent::Yes(timed_out(ask)),
            End::Cancelled => Sent::Yes(cancelled(ask)),
            End::Lost => Sent::Yes(self.lost(ask).await),
        }
    }

    async fn wait(
        &self,
        ask: &Ask<'_>,
        handle: RequestHandle<RoleClient>,
        mut progress: ProgressOf,
    ) -> End {
        let mut out = self.out(handle);
        loop {
            tokio::select! {
                biased;
                answer = out.answer() => {
                    while let Some(heard) = progress.pending() {
                        (ask.progress)(heard);
                    }
                    // The sender is gone when the connection is.
                    return answer.map_or(End::Lost, |answer| End::Answer(Box::new(answer)));
                }
                () = self.lost.cancelled() => return End::Lost,
                () = ask.stopped() => {
                    Box::pin(out.end("cancelled")).await;
                    return End::Cancelled;
                }
                () = sleep_until(ask.deadline) => {
                    let reason = RequestHandle::<RoleClient>::REQUEST_TIMEOUT_REASON;
                    Box::pin(out.end(reason)).await;
                    return End::Timeout;
                }
                heard = progress.next() => (ask.progress)(heard),
            }
        }
    }

    fn out(&self, handle: RequestHandle<RoleClient>) -> Out {
        // Over HTTP one message does not wait for another.
        let deaf = self.process.is_some().then(|| self.retired.clone());
        Out { handle: Some(handle), deaf }
    }

    async fn result(&self, ask: &Ask<'_>, result: ServerResult) -> Outcome {
        match result {
            ServerResult::CallToolResult(result) => {
                let answer = ask.files.keep(Answer::of_result(result)).await;
                answer::outcome(answer, ask.entry)
            }
            // Rare, and large: in a box it makes no call carry it.
            ServerResult::CreateTaskResult(created) => {
                Box::pin(self.follow(ask, created.task)).await
            }
            ServerResult::InputRequiredResult(required) => {
                needs_input(ask, required.input_requests.as_ref())
            }
            other => match serde_json::to_value(&other).ok().and_then(Answer::of_json) {
                Some(answer) => answer::outcome(ask.files.keep(answer).await, ask.entry),
                None => Outcome::unusable(
                    Failure::new(
                        "invalid_result",
                        format!(
                            "{} was called, but its answer is no tool result",
                            ask.entry.info.name
                        ),
                        Some(false),
                    ),
                    ask.entry,
                ),
            },
        }
    }

    async fn error(&self, ask: &Ask<'_>, error: ServiceError) -> Sent {
        match error {
            ServiceError::McpError(error) => Sent::Yes(self.refusal(ask, &error)),
            ServiceError::TransportSend(error) => match http_error(&error) {
                Some(error) => self.http_error(ask, error),
                // A line that was not written to its end was not read.
                None => {
                    self.lost.cancel();
                    let words = self.last_words().await;
                    let name = &ask.entry.info.name;
                    Sent::Not(Failure::unavailable(format!("{name} was not called: {words}")))
                }
            },
            ServiceError::TransportClosed => Sent::Yes(self.lost(ask).await),
            error => Sent::Yes(Outcome::uncertain(
                Failure::connection_lost(format!(
                    "{} was called, but no answer came: {error}",
                    ask.entry.info.name
                )),
                ask.entry,
            )),
        }
    }

    fn refusal(&self, ask: &Ask<'_>, error: &ErrorData) -> Outcome {
        if self.has_session && is_forgotten_session(error) {
            self.retire();
            let text = format!("the tool server ended the session: {}", error.message);
            return Outcome::Failed(Failure::unavailable(text));
        }
        failure::of_rpc_error(error, ask.entry, self.teller())
    }

    fn teller(&self) -> Teller {
        if self.is_built_in() { Teller::Tool } else { Teller::Anybody }
    }

    fn http_error(&self, ask: &Ask<'_>, error: &StreamableHttpError<reqwest::Error>) -> Sent {
        let trouble = http::trouble(error, crate::clock::now());
        if trouble.session_over {
            self.retire();
        }
        match error {
            StreamableHttpError::SessionExpired => Sent::Not(trouble.failure),
            _ => Sent::Yes(trouble.outcome(ask.entry)),
        }
    }

    async fn lost(&self, ask: &Ask<'_>) -> Outcome {
        let text = format!(
            "the connection was lost while {} was running: {}",
            ask.entry.info.name,
            self.last_words().await
        );
        Outcome::uncertain(Failure::connection_lost(text), ask.entry)
    }

    async fn follow(&self, ask: &Ask<'_>, task: Task) -> Outcome {
        let id = Some(task.task_id.clone());
        let mut followed = Followed { peer: self.peer.clone(), id };
        let outcome = self.follow_to_its_end(ask, task).await;
        followed.id = None;
        outcome
    }

    /// Asks after a task until it is done.
    async fn follow_to_its_end(&self, ask: &Ask<'_>, task: Task) -> Outcome {
        let mut pause = poll_interval(&task);
        loop {
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return self.lost(ask).await,
                () = ask.stopped() => {
                    self.cancel_task(&task).await;
                    return cancelled(ask);
                }
                () = sleep_until(ask.deadline) => {
                    self.cancel_task(&task).await;
                    return timed_out(ask);
                }
                () = sleep(pause) => {}
            }
            let got = match self.look_after(ask, &task).await {
                Ok(got) => got,
                Err(outcome) => return outcome,
            };
            pause = poll_interval(&got.task.task);
            if let Some(outcome) = self.ended(ask, &task, got).await {
                return outcome;
            }
        }
    }

    async fn look_after(&self, ask: &Ask<'_>, task: &Task) -> Result<GetTaskResult, Outcome> {
        let params = GetTaskParams::new(task.task_id.clone());
        let request = ClientRequest::GetTaskRequest(GetTaskRequest::new(params));
        let options = PeerRequestOptions::no_options();
        let answer = match self.peer.send_cancellable_request(request, options).await {
            Ok(handle) => {
                let progress = self.progress.follow(handle.progress_token.clone());
                match self.wait(ask, handle, progress).await {
                    End::Answer(answer) => *answer,
                    End::Lost => return Err(self.lost(ask).await),
                    End::Timeout => {
                        self.cancel_task(task).await;
                        return Err(timed_out(ask));
                    }
                    End::Cancelled => {
                        self.cancel_task(task).await;
                        return Err(cancelled(ask));
                    }
                }
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(ServerResult::GetTaskResult(got)) => Ok(got),
            Err(ServiceError::TransportClosed) => Err(self.lost(ask).await),
            Ok(_) => Err(lost_sight(ask, "its answer is not about a task")),
            Err(error) => Err(lost_sight(ask, &error.to_string())),
        }
    }

    async fn ended(&self, ask: &Ask<'_>, task: &Task, got: GetTaskResult) -> Option<Outcome> {
        let words = got.task.task.status_message.unwrap_or_default();
        match got.task.payload {
            TaskPayload::Completed { result } => {
                let answer = Answer::of_json(Value::Object(result)).unwrap_or_default();
                Some(answer::outcome(ask.files.keep(answer).await, ask.entry))
            }
            TaskPayload::Failed { error } => Some(task_error(ask, error, self.teller())),
            TaskPayload::Cancelled => Some(Outcome::Failed(Failure::new(
                "cancelled",
                format!("{} was cancelled at the tool server: {words}", ask.entry.info.name),
                Some(false),
            ))),
            TaskPayload::InputRequired { input_requests } => {
                self.cancel_task(task).await;
                Some(needs_input(ask, Some(&input_requests)))
            }
            _ => None,
        }
    }

    async fn cancel_task(&self, task: &Task) {
        cancel_task(&self.peer, &task.task_id).await;
    }
}

/// Old HTTP servers tell only in words that they have forgotten the session, and then have not called anything.
/// A tool may speak of sessions of its own, so the words must be the known ones.
fn is_forgotten_session(error: &ErrorData) -> bool {
    let text = error.message.trim().trim_end_matches('.').to_ascii_lowercase();
    let text = ["bad request: ", "not found: "]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(&text);
    matches!(error.code.0, -32_000 | -32_001 | -32_600) && FORGOTTEN_SESSION.contains(&text)
}

/// A child that takes nothing in any more cannot hear it, nor any call after this one: the next gets a fresh child.
async fn say_goodbye(
    handle: RequestHandle<RoleClient>,
    reason: &'static str,
    deaf: Option<CancellationToken>,
) {
    let said = timeout(CANCEL, handle.cancel(Some(reason.to_owned()))).await.is_ok();
    if let (false, Some(deaf)) = (said, deaf) {
        deaf.cancel();
    }
}

async fn cancel_task(peer: &Peer<RoleClient>, id: &str) {
    // Cancelling is a request to a server that may not care; there is nothing to do about it.
    let _ = timeout(CANCEL, peer.cancel_task(CancelTaskParams::new(id))).await;
}

pub(super) fn timed_out(ask: &Ask<'_>) -> Outcome {
    let message = format!(
        "{} did not answer within {} ms; it was told to stop, but may have done its work",
        ask.entry.info.name,
        ask.bound.as_millis()
    );
    Outcome::uncertain(Failure::new("timeout", message, Some(ask.entry.repeatable())), ask.entry)
}

pub(super) fn cancelled(ask: &Ask<'_>) -> Outcome {
    let message = format!(
        "{} was cancelled while it was running; it was told to stop, but may have done its work",
        ask.entry.info.name
    );
    Outcome::uncertain(Failure::new("cancelled", message, Some(false)), ask.entry)
}

fn lost_sight(ask: &Ask<'_>, why: &str) -> Outcome {
    let message = format!("{} runs as a task that cannot be followed: {why}", ask.entry.info.name);
    Outcome::uncertain(Failure::connection_lost(message), ask.entry)
}

fn task_error(ask: &Ask<'_>, error: Map<String, Value>, teller: Teller) -> Outcome {
    match serde_json::from_value::<ErrorData>(Value::Object(error)) {
        Ok(error) => failure::of_rpc_error(&error, ask.entry, teller),
        Err(_) => Outcome::Failed(Failure::new(
            "tool_error",
            format!("{} failed without a reason", ask.entry.info.name),
            None,
        )),
    }
}

fn needs_input(ask: &Ask<'_>, requests: Option<&InputRequests>) -> Outcome {
    let questions: Vec<String> = requests
        .into_iter()
        .flatten()
        .filter_map(|(_, request)| serde_json::to_value(request).ok())
        .filter_map(|request| Some(request.pointer("/params/message")?.as_str()?.to_owned()))
        .collect();
    let question = match questions.join(" / ") {
        question if question.is_empty() => "it does not say what".to_owned(),
        question => question,
    };
    let message = format!(
        "{} needs an answer from a person, which a step cannot give: {question}; give it what it asks for in `params`",
        ask.entry.info.name
    );
    Outcome::Failed(Failure::new("needs_input", message, Some(false)))
}

fn poll_interval(task: &Task) -> Duration {
    task.poll_interval_ms
        .map_or(DEFAULT_POLL, Duration::from_millis)
        .clamp(SHORTEST_POLL, LONGEST_POLL)
}

#[cfg(test)]
mod tests {
    use rmcp::model::ErrorCode;

    use super::*;

    #[test]
    fn only_the_known_words_say_that_a_session_is_forgotten() {
        let check = |code, text: &str, expect| {
            let error = ErrorData::new(ErrorCode(code), text.to_owned(), None);
            assert_eq!(is_forgotten_session(&error), expect, "{code} {text}");
        };
        check(-32_001, "Session not found", true);
        check(-32_600, "Not Found: Session not found.", true);
        check(-32_000, "Bad Request: No valid session ID provided", true);
        check(-32_600, "Invalid session ID", true);
        check(-32_602, "Invalid session ID", false);
        check(-32_603, "Session not found", false);
        check(-32_000, "Session not found in the browser pool", false);
        check(-32_000, "the session of the user has expired", false);
        check(-32_000, "payment session created, but the connection closed", false);
    }
}
