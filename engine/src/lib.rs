//! What a workflow does next.
//!
//! The engine is pure. It reads a workflow and the events of one execution, and
//! answers with the commands to carry out. It never waits, never reads the clock
//! and never touches the network or a database; whoever calls it does those
//! things and reports what happened as the next event.
//!
//! ```text
//! events ──▶ State ──▶ decide ──▶ commands ──▶ (the world) ──▶ events
//! ```

mod check;
pub mod expr;
mod input;
mod parse;
mod problem;
mod workflow;

pub use input::InputSchema;
pub use parse::parse;
pub use problem::Problem;
pub use workflow::{
    Backoff, Config, DEFAULT_MAX_PARALLEL, OnError, Retry, Step, ToolName, Workflow,
};
