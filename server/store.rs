//! What the database remembers, and the questions asked of it.

/// A database that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As the database says it.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
