//! Rooms: sending, membership, state, history.
//!
//! **Invariant:** only `append.rs` writes the event graph; what other servers have decided, the
//! modules of `remote`.

mod aliases;
mod append;
mod create;
mod directory;
mod error;
mod head;
mod heads;
mod history;
mod locked;
mod membership;
mod outliers;
mod receipts;
mod receive;
mod redact;
mod remote;
mod render;
mod rooms;
mod send;
mod sender;
mod serve;
mod state;
mod transactions;
mod turn;

pub use create::{CreateRoom, Preset};
pub use directory::{DirectoryPage, DirectoryQuery, RoomListing};
pub use error::Error;
pub use history::{HistoryFilter, MembersQuery, PageRequest, RelationsQuery};
pub use live::Reader;
pub use membership::{MembershipChange, Profile};
pub use receipts::{ReadUpTo, ReceiptKind};
pub use receive::EventResult;
pub use remote::{AcceptedJoin, SentEvent};
pub use rooms::{Rooms, Settings};
pub use send::NewMessage;
pub use sender::Sender;
pub use serve::{EventsBefore, ServedState};
