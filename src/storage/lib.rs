//! All SQL statements, the connection pool, the stream, group commit and the change feed.

pub mod account_data;
pub mod cluster;
pub mod committer;
pub mod cross_signing;
pub mod cursors;
pub mod database;
pub mod dehydrated_devices;
pub mod delayed_events;
pub mod deliveries;
pub mod destinations;
pub mod device_keys;
pub mod device_lists;
pub mod devices;
mod error;
mod escape;
pub mod event_edges;
pub mod events;
mod families;
pub mod feed;
pub mod filters;
mod id_allocator;
pub mod inbox;
pub mod jobs;
pub mod key_backups;
pub mod keys;
pub mod leases;
pub mod maintenance;
pub mod media;
pub mod memberships;
pub mod one_time_keys;
pub mod openid;
pub mod partial_states;
pub mod profiles;
pub mod published_device_lists;
pub mod pushers;
pub mod receipts;
mod recent;
pub mod registration;
pub mod relayed_events;
pub mod remote_device_lists;
pub mod reports;
pub mod room_locks;
pub mod room_overviews;
pub mod room_states;
pub mod rooms;
mod rows;
pub mod search;
pub mod server_keys;
pub mod sessions;
pub mod snapshots;
pub mod state_deltas;
pub mod state_keys;
pub mod stream;
pub mod sync_connections;
mod text;
pub mod thread_subscriptions;
pub mod threads;
pub mod to_device;
pub mod uia;
pub mod unread_counts;
pub mod user_directory;
pub mod users;

pub use cluster::{Message, PeerEvent, PeerEvents};
pub use committer::{Commit, CommitError, Committer};
pub use database::{Database, Tx};
pub use error::Error;
pub use event::Verdict;
pub use events::{StoredEvent, Transaction};
pub use families::{
    account_data_updates::AccountDataUpdate,
    key_uploads::{KeyUpload, NewDeviceKeys, UploadOutcome},
};
pub use feed::Feed;
pub use id_allocator::IdAllocator;
pub use leases::Lease;
pub use recent::NextChanges;
pub use state_keys::StateKeys;
pub(crate) use stream::Changes;
pub use stream::{Change, ChangeKind, UserChange, UserChanges};

/// The connection type that all query functions take; [`Tx`] and pooled connections lend one.
pub type Connection = sqlx::PgConnection;
