//! The in-memory cache of users and rooms: timelines, members, last-changed positions, typing
//! users, presence, and the subscriptions of waiting clients.
//!
//! Users and rooms are loaded on first use, kept up to date by the change feed, and evicted when
//! the cache exceeds its budget. A subscriber is notified when something changes for its user and
//! then takes a new [`View`]; a notification carries no data.

mod aggregations;
mod apply;
mod cache;
mod change_index;
mod changed_rooms;
mod device_lists;
mod ephemeral;
mod event_cache;
mod handle;
mod load;
mod members;
mod notifications;
mod pins;
mod presence;
mod push_evaluator;
mod room;
mod room_notifier;
mod room_overviews;
mod room_servers;
mod room_state;
mod room_states;
mod subscription;
mod timeline_event;
mod typing;
mod typing_users;
mod unread;
mod user;
mod view;
mod visibility;

pub use aggregations::{Aggregations, ChildFilter, WriteEvent};
pub use changed_rooms::ChangedRooms;
pub use event_cache::EventCache;
pub use handle::{Live, Settings};
pub use members::{Heroes, Member, MemberCounts, MemberMap};
pub use presence::{
    LocalPresence, MAX_STATUS_MSG, Presence, PresenceNotice, PresenceState, PresenceUpdate,
    RemotePresence, SyncingDevice,
};
pub use push_evaluator::PushEvaluator;
pub use room::Room;
pub use room_notifier::RoomNotifier;
pub use room_state::{RoomState, is_core, is_core_type};
pub use room_states::PinnedState;
pub use subscription::Subscription;
pub use timeline_event::{Reader, TimelineEvent, common};
pub use unread::{NotificationCount, ReadUpTo, RecentRedaction, Thread, UnreadCounts};
pub use user::{AccountDataEntry, IGNORED_USERS, User, ignored_users};
pub use view::{View, ViewQuery};
pub use visibility::{LastLeave, UserVisibility};
