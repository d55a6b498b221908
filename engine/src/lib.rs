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
mod decide;
mod event;
pub mod expr;
mod hash;
mod input;
mod parse;
mod problem;
mod retry;
mod state;
mod workflow;

pub use decide::{Call, Command, Turn, advance, decide};
pub use event::{Again, Event, Resolution, StepError};
pub use hash::content_hash;
pub use input::InputSchema;
pub use parse::parse;
pub use problem::Problem;
pub use retry::{INTERRUPTED, MAX_REPEATS};
pub use state::{State, Status, StepState, StepStatus, UnexpectedEvent};
pub use workflow::{
    Backoff, Config, DEFAULT_MAX_PARALLEL, OnError, Retry, Step, ToolName, Workflow,
};
