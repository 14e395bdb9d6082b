//! What the authorisation rules said of an event.

/// Whether an event is part of its room.
///
/// Spec: server-server, "Checks performed on receipt of a PDU".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Part of the room.
    #[default]
    Accepted,
    /// Kept for the graph, not shown: the current state does not allow it.
    SoftFailed,
    /// Kept so that it is not asked for again; never used.
    Rejected,
}
