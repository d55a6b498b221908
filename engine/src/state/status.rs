//! The words for how executions and steps stand.

/// Where an execution stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Status {
    /// Accepted, not yet begun.
    #[default]
    Pending,
    /// Something is being done.
    Running,
    /// Nothing is being done until a time comes or somebody says something.
    Waiting,
    /// Told not to start anything new.
    Paused,
    /// Did what it should.
    Completed,
    /// Did not.
    Failed,
    /// Told to stop.
    Cancelled,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StepStatus {
    /// Not begun.
    #[default]
    Pending,
    /// Its call is out.
    Running,
    /// It is called again later.
    Waiting,
    /// It has its result.
    Completed,
    /// No attempt is left.
    Failed,
    /// Its condition was false.
    Skipped,
    /// The execution ended first.
    Cancelled,
    /// Its call may have happened; a person has to say.
    Uncertain,
}

impl Status {
    /// As it is written in rows and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Paused => "paused",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether nothing can happen to the execution any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

impl StepStatus {
    /// As it is written in rows and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Pending => "pending",
            StepStatus::Running => "running",
            StepStatus::Waiting => "waiting",
            StepStatus::Completed => "completed",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
            StepStatus::Cancelled => "cancelled",
            StepStatus::Uncertain => "uncertain",
        }
    }

    pub(crate) fn is_final(self) -> bool {
        match self {
            StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled => true,
            StepStatus::Pending
            | StepStatus::Running
            | StepStatus::Waiting
            | StepStatus::Uncertain => false,
        }
    }
}
