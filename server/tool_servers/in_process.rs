//! MCP between a client and a server of this process: the messages themselves are handed over, not their text.

use std::io;

use rmcp::{
    RoleClient, RoleServer,
    service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many messages may be under way in one direction; whoever sends more waits.
const MOST_MESSAGES: usize = 64;

/// One end of a connection within this process.
pub(super) struct InProcess<R: ServiceRole> {
    /// Gone once this end is closed.
    sender: Option<mpsc::Sender<TxJsonRpcMessage<R>>>,
    receiver: mpsc::Receiver<RxJsonRpcMessage<R>>,
    lost: CancellationToken,
}

/// Both ends of a new connection.
pub(super) fn connection() -> (InProcess<RoleClient>, InProcess<RoleServer>) {
    let (to_server, from_client) = mpsc::channel(MOST_MESSAGES);
    let (to_client, from_server) = mpsc::channel(MOST_MESSAGES);
    let end = CancellationToken::new;
    let ours = InProcess { sender: Some(to_server), receiver: from_server, lost: end() };
    (ours, InProcess { sender: Some(to_client), receiver: from_client, lost: end() })
}

impl<R: ServiceRole> InProcess<R> {
    /// Is cancelled as soon as the other side has closed its end.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl<R: ServiceRole> Transport<R> for InProcess<R> {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<R>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let sender = self.sender.clone();
        async move {
            let sender = sender.ok_or(io::ErrorKind::NotConnected)?;
            sender.send(item).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<R>> {
        let message = self.receiver.recv().await;
        if message.is_none() {
            self.lost.cancel();
        }
        message
    }

    async fn close(&mut self) -> io::Result<()> {
        self.lost.cancel();
        self.sender = None;
        self.receiver.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ClientRequest, JsonRpcMessage, PingRequest, RequestId};

    use super::*;

    fn ping() -> TxJsonRpcMessage<RoleClient> {
        let request = ClientRequest::PingRequest(PingRequest::default());
        JsonRpcMessage::request(request, RequestId::Number(1))
    }

    #[tokio::test]
    async fn what_one_end_sends_the_other_one_receives() {
        let (mut ours, mut theirs) = connection();
        ours.send(ping()).await.unwrap();
        let received = theirs.receive().await;
        assert!(matches!(received, Some(JsonRpcMessage::Request(_))), "{received:?}");
    }

    #[tokio::test]
    async fn whose_other_end_is_closed_is_told_so_and_sends_nothing() {
        let (mut ours, mut theirs) = connection();
        let lost = ours.lost();
        theirs.close().await.unwrap();
        assert!(ours.receive().await.is_none());
        assert!(lost.is_cancelled());
        assert!(ours.send(ping()).await.is_err());
        assert!(theirs.send(JsonRpcMessage::error(internal(), None)).await.is_err());
    }

    fn internal() -> rmcp::ErrorData {
        rmcp::ErrorData::internal_error("no", None)
    }
}
