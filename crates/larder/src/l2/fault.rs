//! Why Redis gave no answer.

use std::fmt;

/// Why Redis gave no answer. Carries no text from the wire: it may quote keys or secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not connected, or the breaker is open.
    Down,
    TimedOut,
    /// The connection broke.
    Broken,
    /// Redis answered that it will not serve, with this code.
    Refused(&'static str),
}

impl Fault {
    pub(super) fn needs_new_connection(&self) -> bool {
        matches!(self, Self::Broken | Self::Refused("READONLY" | "NOAUTH" | "WRONGPASS"))
    }

    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("not connected"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Broken => f.write_str("connection failed"),
            Self::Refused("WRONGPASS") => {
                f.write_str("the user name or the password is wrong (WRONGPASS)")
            }
            Self::Refused("HELLO") => {
                f.write_str("RESP3 is needed, and this server knows RESP2 only (HELLO)")
            }
            Self::Refused("SELECT") => f.write_str("there is no such database number (SELECT)"),
            Self::Refused("NOAUTH") => f.write_str("a password is needed (NOAUTH)"),
            Self::Refused(code) => write!(f, "refused with {code}"),
        }
    }
}
