//! Which channels there are, and how each is reached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which channels messages go to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {
    /// The channel of messages that name none.
    pub default_channel: String,
    /// The channels, by the names that messages use.
    pub channels: BTreeMap<String, Channel>,
}

/// A place where people look. What it needs depends on its kind.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// What it is.
    pub kind: Kind,
    /// slack, teams, discord, webhook: the variable that holds the address to post to; the address is a secret.
    pub url_env: String,
    /// webhook: the address itself, where it is no secret.
    pub url: String,
    /// slack: the variable with a bot token, instead of an address. github: variables looked at for a token.
    pub token_env: Vec<String>,
    /// slack with a token: the channel, such as `#deploys`. github: `OWNER/REPO#NUMBER`.
    pub target: String,
    /// Which other targets a message may name, as `CHANNEL:TARGET`; globs, none when empty.
    pub targets: Vec<String>,
    /// webhook: the variable with the key that signs messages.
    pub secret_env: String,
    /// slack, github: where the API is; empty: the public one.
    pub api_url: String,
}

/// What a channel is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The log of Windlass, and a list that can be asked for.
    #[default]
    #[serde(alias = "stdout")]
    Log,
    /// Slack, by a bot's token or by an incoming webhook.
    Slack,
    /// Microsoft Teams, by the address of a workflow.
    Teams,
    /// Discord, by a webhook.
    Discord,
    /// Any address that takes JSON.
    Webhook,
    /// Comments on an issue or pull request.
    Github,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            default_channel: "log".to_owned(),
            channels: [("log".to_owned(), Channel::default())].into(),
        }
    }
}

impl NotifyConfig {
    /// The variables that this configuration reads.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let of = |channel: &Channel| {
            let named = [channel.url_env.clone(), channel.secret_env.clone()];
            named.into_iter().chain(channel.token_env.clone())
        };
        self.channels.values().flat_map(of).filter(|name| !name.is_empty()).collect()
    }
}

impl Kind {
    /// The word that the configuration uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Webhook => "webhook",
            Self::Github => "github",
        }
    }
}
