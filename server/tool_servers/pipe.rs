//! MCP over a child's pipes, one message a line.

use std::{io, sync::Arc};

use rmcp::{
    RoleClient,
    model::{ErrorCode, ErrorData, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

use super::{
    lines::{Line, Lines},
    process::{LEAVE, Process},
};
use crate::secrets;

/// No message of a tool server may be longer.
pub(super) const LONGEST_MESSAGE: usize = 32 * 1024 * 1024;
/// Stands for an answer that was longer than [`LONGEST_MESSAGE`].
pub(super) const TOO_LARGE: ErrorCode = ErrorCode(-31_001);
/// Stands for an answer that does not have the form of one.
pub(super) const UNREADABLE: ErrorCode = ErrorCode(-31_002);

/// The transport that we hand to rmcp. Its own one drops answers that are too long or malformed without a
/// word, so that a call hangs until its timeout; and takes longer to end a child than a shutdown may.
pub(super) struct Pipe<R, W> {
    lines: Lines<R>,
    writer: Arc<Mutex<Option<W>>>,
    process: Arc<Process>,
    lost: CancellationToken,
}

impl<R: AsyncRead + Unpin, W> Pipe<R, W> {
    pub(super) fn new(reader: R, writer: W, process: Arc<Process>) -> Pipe<R, W> {
        Pipe {
            lines: Lines::new(reader, LONGEST_MESSAGE),
            writer: Arc::new(Mutex::new(Some(writer))),
            process,
            lost: CancellationToken::new(),
        }
    }

    /// Is cancelled as soon as the other side has closed its end.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn or_lost(&self, id: Option<i64>) -> Option<RxJsonRpcMessage<RoleClient>> {
        if id.is_none() {
            self.lost.cancel();
        }
        id.map(too_large)
    }

    fn note(&self, text: &str) {
        self.process.note(text);
    }

    fn message(&self, line: &[u8]) -> Option<RxJsonRpcMessage<RoleClient>> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        match serde_json::from_slice(line) {
            Ok(message) => Some(message),
            Err(error) => self.unreadable(line, &error),
        }
    }

    fn unreadable(
        &self,
        line: &[u8],
        error: &serde_json::Error,
    ) -> Option<RxJsonRpcMessage<RoleClient>> {
        let Ok(value) = serde_json::from_slice::<Value>(line) else {
            // Hidden before it is cut: a part of a secret would not be known as one.
            let line = secrets::hide(&String::from_utf8_lossy(line)).into_owned();
            let start: String = line.chars().take(500).collect();
            self.note(&format!("(on standard output, not a message) {}", start.trim_end()));
            return None;
        };
        let answers = value.get("result").is_some() || value.get("error").is_some();
        let id: RequestId = serde_json::from_value(value.get("id")?.clone()).ok()?;
        answers.then(|| {
            let text = format!("its answer does not have the form of one: {error}");
            JsonRpcMessage::error(ErrorData::new(UNREADABLE, text, None), Some(id))
        })
    }
}

impl<R, W> Transport<RoleClient> for Pipe<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let writer = self.writer.clone();
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut writer = writer.lock().await;
            let writer = writer.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            writer.write_all(&line).await?;
            writer.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = match self.lines.next().await {
                Some(Line::Whole(line)) => self.message(&line),
                // Whoever waits for an answer that cannot be assigned would wait in vain.
                Some(Line::TooLong { head, tail }) => self.or_lost(answered_id(&head, &tail)),
                None => self.or_lost(None),
            };
            if message.is_some() || self.lost.is_cancelled() {
                return message;
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.lost.cancel();
        // A writer that is stuck in a full pipe holds the lock; the child's end is what frees it.
        if let Ok(mut writer) = self.writer.try_lock() {
            writer.take();
        }
        self.process.end(LEAVE).await;
        Ok(())
    }
}

fn too_large(id: i64) -> RxJsonRpcMessage<RoleClient> {
    let text = format!("its answer is longer than {} MiB", LONGEST_MESSAGE / 1024 / 1024);
    JsonRpcMessage::error(ErrorData::new(TOO_LARGE, text, None), Some(RequestId::Number(id)))
}

/// The request that an answer belongs to of which only the ends are known. Our ids are whole numbers.
fn answered_id(head: &[u8], tail: &[u8]) -> Option<i64> {
    let head = String::from_utf8_lossy(head);
    let tail = String::from_utf8_lossy(tail);
    // Behind `"result"` an `"id"` may be part of the result, and so it may be before the last brace's own keys.
    let before = head.split("\"result\"").next().filter(|before| before.len() < head.len());
    let first = before.and_then(|before| number_after_id(before.split("\"id\"").nth(1)?));
    first.or_else(|| {
        let last = tail.trim_end().strip_suffix('}')?;
        let (_, number) = last.rsplit_once("\"id\"")?;
        let number = number.trim_start().strip_prefix(':')?.trim();
        number.parse().ok()
    })
}

fn number_after_id(text: &str) -> Option<i64> {
    let digits = text.trim_start().strip_prefix(':')?.trim_start();
    let end = digits.find(|letter: char| !letter.is_ascii_digit())?;
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_answer_is_found_at_either_end() {
        let check = |head: &str, tail: &str, expect| {
            assert_eq!(answered_id(head.as_bytes(), tail.as_bytes()), expect, "{head} … {tail}");
        };
        check(r#"{"jsonrpc":"2.0","id":12,"result":{"id":3,"#, "xx\"}}", Some(12));
        check(r#"{ "id" : 7 , "result": [1,"#, "2]}", Some(7));
        check(r#"{"result":{"content":"#, r#""x"}]},"jsonrpc":"2.0","id":9}"#, Some(9));
        check(r#"{"result":{"content":"#, r#""id":4}]}}"#, None);
        check(r#"{"jsonrpc":"2.0","method":"notifications/message","params":"#, "}}", None);
    }
}
