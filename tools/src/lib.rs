//! The tool servers that ship with Windlass.
//!
//! Each is an ordinary MCP server that also runs alone. Windlass calls them the
//! way it calls any other: through the protocol.

#[cfg(feature = "agent")]
pub mod agent;
pub mod contract;
pub mod demo;
#[cfg(feature = "deploy")]
pub mod deploy;
#[cfg(feature = "documents")]
pub mod documents;
#[cfg(feature = "github")]
pub mod github;
#[cfg(any(feature = "agent", feature = "deploy", feature = "notify", feature = "observability"))]
mod http;
#[cfg(feature = "notify")]
pub mod notify;
#[cfg(feature = "observability")]
pub mod observability;
#[cfg(any(feature = "deploy", feature = "notify"))]
mod refusal;

#[cfg(feature = "agent")]
pub use agent::{AgentConfig, agent};
pub use demo::demo;
#[cfg(feature = "deploy")]
pub use deploy::{DeployConfig, deploy};
#[cfg(feature = "documents")]
pub use documents::{DocumentsConfig, documents};
#[cfg(feature = "github")]
pub use github::{GithubConfig, github};
#[cfg(feature = "notify")]
pub use notify::{NotifyConfig, notify};
#[cfg(feature = "observability")]
pub use observability::{ObservabilityConfig, observability};
