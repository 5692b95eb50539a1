//! What went wrong, as the person at the terminal needs it: what failed, what is still serving, what was not changed, and
//! the command to run next. Every error of the libraries is folded into this, here and in the commands, and nowhere else.

use cutover_conductor::{
    planning::NoPlan,
    ports::{JournalError, PortError},
};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) kind: Kind,
    /// What failed.
    pub(crate) message: String,
    /// What is still serving, what was not changed; a sentence each.
    pub(crate) facts: Vec<String>,
    /// What to do next.
    pub(crate) help: Option<String>,
    /// The place in a file.
    pub(crate) report: Option<miette::Report>,
    /// The command's document, which tells of the failure too, is on standard output already.
    pub(crate) documented: bool,
}

/// The kinds of failure, with their exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Something did not work.
    Failed = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// A rule forbids it.
    Refused = 3,
    /// Interrupted or waiting; the same command goes on.
    Interrupted = 4,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), facts: Vec::new(), help: None, report: None, documented: false }
    }

    pub(crate) fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    pub(crate) fn documented(mut self) -> Self {
        self.documented = true;
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Unreachable(message) => {
                Self::new(Kind::Failed, message).help("`cutover doctor` shows what can be reached")
            }
            PortError::Broken { message, help } => Self::new(Kind::Failed, message).help(help),
            PortError::Refused { message, help } => Self::new(Kind::Refused, message).help(help),
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let message = error.to_string();
        let kept = "what is running was not changed";
        match error {
            JournalError::Busy { .. } => Self::new(Kind::Refused, message).fact("nothing was begun").help(
                "wait for it, watch it with `cutover status`, or stop it with `cutover abort ENVIRONMENT`",
            ),
            JournalError::Fenced(_) => Self::new(Kind::Interrupted, message)
                .fact("this command changed nothing after that")
                .help("`cutover status` shows how it goes on"),
            JournalError::Behind => {
                Self::new(Kind::Interrupted, message).fact(kept).help("run the same command again")
            }
            JournalError::Illegal(_) | JournalError::NoRun(_) => Self::new(Kind::Refused, message)
                .fact("nothing was changed")
                .help("`cutover status` shows what the environment's run waits for"),
            JournalError::Corrupt { .. } => Self::new(Kind::Failed, message).fact(kept).help(
                "`cutover doctor --mend-journal` keeps the damaged file and goes on from its sound part",
            ),
            JournalError::Full { .. } => Self::new(Kind::Failed, message)
                .fact(kept)
                .help("make room, then run the same command again: it goes on where it stopped"),
            JournalError::Unusable { .. } => Self::new(Kind::Failed, message)
                .fact(kept)
                .help("`cutover doctor` checks the state directory"),
        }
    }
}

impl From<NoPlan> for Failure {
    fn from(error: NoPlan) -> Self {
        let refused = Self::new(Kind::Refused, error.to_string()).fact("nothing was changed");
        match error {
            NoPlan::Open { .. } => refused.help("go on with `cutover release ENVIRONMENT --resume`, or go back with `cutover abort ENVIRONMENT`"),
            NoPlan::Serving { .. } => refused,
            NoPlan::NothingEarlier | NoPlan::NeverServed { .. } => {
                refused.help("`cutover history` lists the releases that served")
            }
            NoPlan::BelowFloor { .. } => {
                refused.help("fix forward with a new release, or return to a release at or above the floor: `cutover history`")
            }
        }
    }
}
