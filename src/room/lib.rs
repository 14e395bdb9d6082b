//! Rooms: sending, membership, state, history.
//!
//! **Invariant:** only `append.rs` writes the event graph; rooms that are taken up from other servers
//! or known from outside only, `remote/import.rs` and `remote/outside.rs`.

mod aliases;
mod append;
mod backfill;
mod content;
mod create;
mod delayed;
mod directory;
mod error;
mod head;
mod heads;
mod hierarchy;
mod history;
mod locked;
mod membership;
mod outliers;
mod partial_states;
mod policy_server;
mod receipts;
mod receive;
mod redact;
mod remote;
mod render;
mod reports;
mod room_locks;
mod rooms;
mod search;
mod send;
mod sender;
mod serve;
mod state;
mod summary;
mod thread_subscriptions;
mod transactions;
mod turn;
mod upgrade;

pub use create::{CreateRoom, Preset};
pub use delayed::DelayedDraft;
pub use directory::{DirectoryPage, DirectoryQuery};
pub use error::Error;
pub use hierarchy::{HierarchyPage, HierarchyQuery};
pub use history::{HistoryFilter, MembersQuery, PageRequest, RelationsQuery, ThreadsQuery};
pub use live::Reader;
pub use membership::{MembershipChange, Profile};
pub use receipts::{ReadUpTo, ReceiptKind};
pub use receive::EventResult;
pub use remote::{AcceptedJoin, SentEvent, ThirdPartyInvite};
pub use rooms::{Rooms, Settings};
pub use search::{EventSearch, Grouping, SearchContext};
pub use send::NewMessage;
pub use sender::Sender;
pub use serve::{EventsBefore, ServedState};
pub use storage::delayed_events::DelayedEvent;
pub use summary::RoomPreview;
pub use thread_subscriptions::{SubscriptionsPage, SubscriptionsQuery};
pub use upgrade::UpgradeRoom;
