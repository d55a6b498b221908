//! Moves executions forward: claim, decide, commit, act, and again.
