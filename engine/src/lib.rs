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
mod depth;
mod event;
pub mod expr;
mod hash;
mod input;
mod origins;
mod parse;
mod problem;
mod retry;
mod schema;
mod shape;
mod state;
mod workflow;

pub use check::types::{Findings, Lookup, ToolSchemas, Tools, Unchecked, check_tools, near};
pub use decide::{Call, Child, Command, Turn, advance, advance_further, decide};
pub use depth::{MAX_VALUE_DEPTH, is_too_deep};
pub use event::{
    Again, Answer, Event, Phase, Request, RequestKind, Resolution, SecretSlot, StepError,
};
pub use hash::{content_hash, id, id_at};
pub use input::{InputSchema, has_too_many_references};
pub use origins::{Origin, Origins};
pub use parse::{locate, parse, to_json};
pub use problem::{PatchOperation, Problem};
pub use retry::{INTERRUPTED, MAX_REPEATS, RATE_LIMITED, look_delay_ms};
pub use schema::language_schema;
pub use state::{Look, State, Status, StepState, StepStatus, UnexpectedEvent};
pub use workflow::{
    Approval, Ask, Backoff, Compensation, Config, DEFAULT_ANSWER_MS, DEFAULT_MAX_PARALLEL, ForEach,
    Group, Kind, Lock, OnBusy, OnError, OnExpire, OnUncertain, Outcome, Priority, Repeat, Retry,
    Step, Stop, Terms, ToolName, Verify, Wait, WaitFor, Workflow,
};
