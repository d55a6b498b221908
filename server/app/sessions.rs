//! Sessions of the older protocols, which any replica can take up.

use super::{App, Error};
use crate::store::SessionRow;

/// What is kept of a session. Nothing of it is of use to somebody who reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// The digest of its id.
    pub id: String,
    /// The digest of what its client authorised itself with.
    pub principal: String,
    /// What its client said of itself when it began, as JSON.
    pub client: String,
}

impl App {
    /// Keeps a session until it was not heard of for so many milliseconds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_session(&self, session: Session, silence_ms: i64) -> Result<(), Error> {
        let Session { id, principal, client } = session;
        let row = SessionRow { id, principal, client };
        Ok(self.inner.store.keep_session(&row, silence_ms).await?)
    }

    /// What is kept of a session, if it is not over and this principal began it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, id: &str, principal: &str) -> Result<Option<Session>, Error> {
        let row = self.inner.store.session(id, principal).await?;
        Ok(row.map(|SessionRow { id, principal, client }| Session { id, principal, client }))
    }

    /// Forgets a session that its client has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_session(&self, id: &str) -> Result<(), Error> {
        Ok(self.inner.store.end_session(id).await?)
    }

    /// Notes that these sessions were heard of, and forgets what was silent for too long; which of these are still kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sessions_seen(
        &self,
        ids: &[String],
        silence_ms: i64,
    ) -> Result<Vec<String>, Error> {
        Ok(self.inner.store.sessions_seen(ids, silence_ms).await?)
    }
}
