//! The workflow that the model's executions run, and what an engine makes of its history: step `a` calls a tool that
//! must not be called twice, step `b` waits for the event `go`.

/// One entry of a history, as the engine writes it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// Always the first.
    ExecutionStarted,
    /// The intent to call, of `a`.
    AttemptStarted,
    /// The tool did it.
    AttemptSucceeded,
    /// The tool did not do it.
    AttemptFailed,
    /// The call may have happened; where it is known that it did not, it is harmless to repeat.
    AttemptUncertain {
        /// Whether it is.
        repeatable: bool,
    },
    /// The same attempt goes out again.
    CallScheduled,
    /// No attempt is left.
    StepFailed,
    /// A person has to say what became of `a`.
    StepUncertain,
    /// A person said so.
    StepResolved(Resolution),
    /// `b` waits.
    WaitStarted,
    /// Somebody sent an event.
    EventReceived(Word),
    /// `b` has heard what it waited for.
    StepCompleted,
    /// `b` is not needed any more.
    StepCancelled,
    /// Somebody has it begin nothing for now.
    ExecutionPaused,
    /// It goes on.
    ExecutionResumed,
    /// The last event of an execution that did what it should.
    ExecutionCompleted,
    /// The last event of one that did not, unless somebody has it go on.
    ExecutionFailed,
    /// It failed and goes on: what did not complete begins anew.
    ExecutionRetried,
}

/// What a person says of an uncertain call. They look into the ledger of its tool first.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Resolution {
    /// It happened.
    Completed,
    /// It did not happen, and is to be made again.
    Retry,
}

/// The name of an event that is sent from outside.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Word {
    /// `b` waits for it.
    Go,
    /// Nobody waits for it.
    Noise,
}

/// How an execution stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// Something is to do, or out.
    Running,
    /// Only somebody outside can move it.
    Waiting,
    /// It begins nothing.
    Paused,
    /// It did what it should.
    Completed,
    /// It did not.
    Failed,
}

/// How step `a` stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Call {
    /// It is to be called.
    Due,
    Running,
    /// It is to be called again, as part of the same attempt.
    Interrupted,
    /// Its call may have happened, which the history does not say in so many words yet.
    Lost,
    Uncertain,
    Done,
    Failed,
}

/// What a history amounts to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct State {
    /// How the execution stands.
    pub status: Status,
    call: Call,
    /// Counts how often `a` began afresh: what a person says is about one of them.
    pub generation: u8,
    waits: bool,
    has_heard: bool,
    held: u8,
    is_paused: bool,
}

/// An event that means nothing in its state: the history is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unexpected(pub Event);

/// What is written next, and whether the tool is called then.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Turn {
    /// What is written.
    pub events: Vec<Event>,
    /// Whether the tool is called.
    pub calls: bool,
}

impl Event {
    /// Its name, as the engine writes it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Event::ExecutionStarted => "execution_started",
            Event::AttemptStarted => "attempt_started",
            Event::AttemptSucceeded => "attempt_succeeded",
            Event::AttemptFailed => "attempt_failed",
            Event::AttemptUncertain { .. } => "attempt_uncertain",
            Event::CallScheduled => "call_scheduled",
            Event::StepFailed => "step_failed",
            Event::StepUncertain => "step_uncertain",
            Event::StepResolved(_) => "step_resolved",
            Event::WaitStarted => "wait_started",
            Event::EventReceived(_) => "event_received",
            Event::StepCompleted => "step_completed",
            Event::StepCancelled => "step_cancelled",
            Event::ExecutionPaused => "execution_paused",
            Event::ExecutionResumed => "execution_resumed",
            Event::ExecutionCompleted => "execution_completed",
            Event::ExecutionFailed => "execution_failed",
            Event::ExecutionRetried => "execution_retried",
        }
    }
}

impl Event {
    /// Whether it says what became of something, which is written in a pause too.
    fn settles(self) -> bool {
        matches!(
            self,
            Event::CallScheduled | Event::StepFailed | Event::StepUncertain | Event::StepCompleted
        )
    }

    /// Whether something begins with it.
    #[must_use]
    pub fn begins(self) -> bool {
        matches!(self, Event::AttemptStarted | Event::WaitStarted)
    }
}

impl Status {
    /// Its name, as rows have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Paused => "paused",
            Status::Completed => "completed",
            Status::Failed => "failed",
        }
    }

    /// Whether the execution has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed)
    }
}

impl State {
    /// Before anything happened.
    #[must_use]
    pub fn new() -> State {
        State {
            status: Status::Running,
            call: Call::Due,
            generation: 0,
            waits: false,
            has_heard: false,
            held: 0,
            is_paused: false,
        }
    }

    /// What a whole history amounts to.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(history: impl IntoIterator<Item = Event>) -> Result<State, Unexpected> {
        let mut state = State::new();
        for event in history {
            state.apply(event)?;
        }
        Ok(state)
    }

    /// Whether a call is out, as far as the history says.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.call == Call::Running
    }

    /// Whether a person has to say what became of `a`.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.call == Call::Uncertain
    }

    /// Whether nothing is begun.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Takes note of an event.
    ///
    /// # Errors
    /// When it means nothing in this state.
    pub fn apply(&mut self, event: Event) -> Result<(), Unexpected> {
        if (self.status, event) == (Status::Failed, Event::ExecutionRetried) {
            self.status = Status::Running;
            (self.call, self.waits) = (Call::Due, false);
            return Ok(());
        }
        if self.status.is_final() {
            return Err(Unexpected(event));
        }
        match (event, self.call) {
            (Event::ExecutionStarted, _) => {}
            (Event::AttemptStarted, Call::Due) => {
                self.generation += 1;
                self.call = Call::Running;
            }
            (Event::AttemptStarted, Call::Interrupted) => self.call = Call::Running,
            (Event::AttemptSucceeded, Call::Running) => self.call = Call::Done,
            (Event::AttemptFailed, Call::Running) => self.call = Call::Failed,
            (Event::AttemptUncertain { repeatable: true }, Call::Running) => {
                self.call = Call::Interrupted;
            }
            (Event::AttemptUncertain { repeatable: false }, Call::Running) => {
                self.call = Call::Lost;
            }
            (Event::CallScheduled, Call::Interrupted) | (Event::StepFailed, Call::Failed) => {}
            (Event::StepUncertain, Call::Lost) => self.call = Call::Uncertain,
            (Event::StepResolved(Resolution::Retry), Call::Uncertain) => self.call = Call::Due,
            (Event::StepResolved(Resolution::Completed), Call::Uncertain) => self.call = Call::Done,
            (Event::EventReceived(Word::Noise), _) => {}
            (Event::EventReceived(Word::Go), _) => self.held += 1,
            (Event::WaitStarted, Call::Done) => self.waits = true,
            (Event::StepCompleted, Call::Done) if self.waits && 0 < self.held => {
                self.held -= 1;
                self.has_heard = true;
            }
            (Event::StepCancelled, Call::Failed) => {}
            (Event::ExecutionPaused, _) => self.is_paused = true,
            (Event::ExecutionResumed, _) if self.is_paused => self.is_paused = false,
            (Event::ExecutionCompleted, Call::Done) if self.has_heard => {
                self.status = Status::Completed;
            }
            (Event::ExecutionFailed, Call::Failed) => self.status = Status::Failed,
            (unexpected, _) => return Err(Unexpected(unexpected)),
        }
        if !self.status.is_final() {
            let waits = self.is_uncertain() || (self.waits && !self.has_heard && self.held == 0);
            self.status = match waits {
                _ if self.is_paused => Status::Paused,
                true => Status::Waiting,
                false => Status::Running,
            };
        }
        Ok(())
    }

    /// Decides what to write because of what happened; with a mistake, as if nobody had paused anything.
    ///
    /// # Errors
    /// When what happened means nothing in this state.
    pub fn advance(
        &mut self,
        happened: Vec<Event>,
        goes_on_in_pause: bool,
    ) -> Result<Turn, Unexpected> {
        let mut turn = Turn::default();
        for event in happened {
            self.apply(event)?;
            turn.events.push(event);
        }
        while let Some(event) =
            self.next(&turn).filter(|event| goes_on_in_pause || !self.is_paused || event.settles())
        {
            self.apply(event)?;
            turn.events.push(event);
            turn.calls |= event == Event::AttemptStarted;
        }
        Ok(turn)
    }

    fn next(&self, turn: &Turn) -> Option<Event> {
        let last = turn.events.last();
        match self.call {
            _ if self.status.is_final() => None,
            Call::Due => Some(Event::AttemptStarted),
            Call::Running | Call::Uncertain => None,
            Call::Interrupted if last == Some(&Event::CallScheduled) => Some(Event::AttemptStarted),
            Call::Interrupted => Some(Event::CallScheduled),
            Call::Lost => Some(Event::StepUncertain),
            Call::Done if !self.waits => Some(Event::WaitStarted),
            Call::Done if self.has_heard => Some(Event::ExecutionCompleted),
            Call::Done => (0 < self.held).then_some(Event::StepCompleted),
            Call::Failed if last == Some(&Event::StepFailed) => Some(Event::StepCancelled),
            Call::Failed if last == Some(&Event::StepCancelled) => Some(Event::ExecutionFailed),
            Call::Failed => Some(Event::StepFailed),
        }
    }
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}
