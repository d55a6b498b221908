//! What the double knows of a GitHub App: where it is installed, and the tokens it was given.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock;

const HOUR_MS: u64 = 3_600_000;

/// The App that the double knows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct App {
    /// Its id.
    pub id: u64,
    /// Its name in addresses.
    pub slug: String,
    /// Installations by the login of the owner.
    pub installations: BTreeMap<String, u64>,
    /// Tokens it was given, in their order.
    pub tokens: Vec<AppToken>,
}

/// A token of an installation.
#[derive(Debug, Clone, Serialize)]
pub struct AppToken {
    /// As it is sent.
    pub token: String,
    /// Whose installation it is for.
    pub installation: u64,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl App {
    /// Makes a token for an installation.
    pub(in crate::github) fn mint(&mut self, installation: u64) -> AppToken {
        let number = self.tokens.len() + 1;
        let token = AppToken {
            token: format!("ghs_installation{installation}token{number:08}"),
            installation,
            expires_ms: clock::now_ms() + HOUR_MS,
            revoked: false,
        };
        self.tokens.push(token.clone());
        token
    }

    /// Whether a token may be used for the repositories of an owner.
    pub(in crate::github) fn accepts(&self, token: &str, owner: Option<&str>) -> bool {
        let now = clock::now_ms();
        let alive = |own: &&AppToken| own.token == token && !own.revoked && now < own.expires_ms;
        self.tokens.iter().find(alive).is_some_and(|found| {
            owner.is_none_or(|owner| self.installation(owner) == Some(found.installation))
        })
    }

    /// The installation for an owner.
    pub(in crate::github) fn installation(&self, owner: &str) -> Option<u64> {
        let mut all = self.installations.iter();
        all.find(|(own, _)| own.eq_ignore_ascii_case(owner)).map(|(_, id)| *id)
    }
}
