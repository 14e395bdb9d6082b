//! The user directory: whom searches for users find.
//!
//! Spec: client-server, "User directory". Users of this server are listed when their profiles change, with
//! these names only: what a user is called in a private room is nobody else's business. Users of other
//! servers are listed by the rooms they are in, by a follower of the stream.

use std::collections::{BTreeMap, BTreeSet};

use event::Pdu;
use ruma::{
    OwnedUserId, UserId,
    events::room::{history_visibility::HistoryVisibility, member::MembershipState},
};
use serde::Deserialize;
use serde_json::Value;
use storage::{
    Change, ChangeKind, Connection, StoredEvent, events,
    stream::{StateChange, StateDelta},
    user_directory::{self, DirectoryEntry, DirectoryQuery},
};
use tokio_util::sync::CancellationToken;
use types::RoomNid;
use worker::{Batch, Follower, Start};

use crate::{Error, Identity, Profile, Result};

const JOIN_RULES: &str = "m.room.join_rules";
const HISTORY_VISIBILITY: &str = "m.room.history_visibility";

/// The longest search term, in bytes.
const MAX_TERM: usize = 1024;
/// The most users that a search returns.
const MAX_RESULTS: usize = 50;

/// Lists a user of this server as its profile says.
pub(crate) async fn list(db: &mut Connection, user_id: &UserId, profile: &Profile) -> Result<()> {
    let entry = DirectoryEntry {
        user_id: user_id.to_owned(),
        display_name: profile.display_name().map(str::to_owned),
        avatar_url: profile.avatar_url().map(str::to_owned),
    };
    Ok(user_directory::set(db, &[(None, entry)]).await?)
}

/// What a part of the stream changes in the directory.
#[derive(Default)]
struct Changes {
    /// Users of other servers by room; none: one who is not in the room any more.
    members: BTreeMap<(RoomNid, OwnedUserId), Option<DirectoryEntry>>,
    /// Rooms that may have become open to anybody, or closed.
    rooms: BTreeSet<RoomNid>,
}

impl Identity {
    /// The users whom a user finds by a term, at most so many, and whether there are more.
    #[tracing::instrument(name = "identity.search_users", skip_all, err(level = "debug"))]
    pub async fn search_users(
        &self,
        searcher: &UserId,
        term: &str,
        limit: usize,
    ) -> Result<(Vec<DirectoryEntry>, bool)> {
        if term.len() > MAX_TERM {
            return Err(Error::InvalidParam("The search term is too long"));
        }
        let query = DirectoryQuery {
            searcher,
            term,
            all_local: self.0.settings.user_directory.search == config::UserSearch::All,
            limit: limit.min(MAX_RESULTS),
        };
        let mut db = self.0.database.acquire().await?;
        Ok(user_directory::search(&mut db, query).await?)
    }

    /// Lists the users of other servers who are in rooms here, from the beginning of the stream, until it
    /// is told to stop; of several processes one does.
    pub async fn follow_memberships(&self, stopping: CancellationToken) -> Result<()> {
        let mut follower = Follower::builder("user_directory")
            .kinds(&[ChangeKind::State])
            .from(Start::Beginning)
            .exclusive()
            .build(self.0.database.clone())
            .await?;
        while let Some(batch) = stopping.run_until_cancelled(follower.next()).await {
            self.list_members(&mut follower, batch?).await?;
        }
        Ok(follower.release().await?)
    }

    async fn list_members(&self, follower: &mut Follower, batch: Batch) -> Result<()> {
        let mut changes = Changes::default();
        for (_, change) in &batch.changes {
            if let Change::State(delta) = change {
                self.collect(delta, &mut changes);
            }
        }
        if changes.members.is_empty() && changes.rooms.is_empty() {
            return Ok(follower.skip(batch).await?);
        }
        let (mut listed, mut gone) = (Vec::new(), Vec::new());
        for ((room_nid, user_id), entry) in changes.members {
            match entry {
                Some(entry) => listed.push((Some(room_nid), entry)),
                None => gone.push((Some(room_nid), user_id)),
            }
        }
        let rooms: Vec<RoomNid> = changes.rooms.into_iter().collect();
        let mut tx = self.0.database.begin().await?;
        if !rooms.is_empty() {
            let rooms = open_rooms(&mut tx, &rooms).await?;
            user_directory::set_open_rooms(&mut tx, &rooms).await?;
        }
        if !listed.is_empty() {
            user_directory::set(&mut tx, &listed).await?;
        }
        if !gone.is_empty() {
            user_directory::remove(&mut tx, &gone).await?;
        }
        Ok(follower.commit(tx, batch).await?)
    }

    fn collect(&self, delta: &StateDelta, changes: &mut Changes) {
        for change in &delta.changes {
            let Some(event) = change.event() else {
                continue;
            };
            match event.event_type() {
                "m.room.member" => {
                    let member = event.state_key().unwrap_or_default();
                    let Ok(user_id) = OwnedUserId::try_from(member) else {
                        continue;
                    };
                    if !self.is_local(&user_id) {
                        let entry = entry(&user_id, change);
                        changes.members.insert((delta.room_nid, user_id), entry);
                    }
                }
                JOIN_RULES | HISTORY_VISIBILITY => {
                    changes.rooms.insert(delta.room_nid);
                }
                _ => {}
            }
        }
    }
}

/// A member as a room has it; none if the user is not joined any more.
fn entry(user_id: &UserId, change: &StateChange) -> Option<DirectoryEntry> {
    #[derive(Deserialize)]
    struct Content {
        displayname: Option<Value>,
        avatar_url: Option<Value>,
    }
    let event = &change.to.as_ref()?.pdu;
    if event.membership() != Some(MembershipState::Join) {
        return None;
    }
    let content: Option<Content> = event.content_as().ok();
    let (name, avatar) = content.map_or((None, None), |content| {
        (content.displayname, content.avatar_url)
    });
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    Some(DirectoryEntry {
        user_id: user_id.to_owned(),
        display_name: text(name),
        avatar_url: text(avatar),
    })
}

/// Which of the rooms anybody may join or read now.
async fn open_rooms(db: &mut Connection, room_nids: &[RoomNid]) -> Result<Vec<(RoomNid, bool)>> {
    let state = events::current_state_of(db, room_nids, &[JOIN_RULES, HISTORY_VISIBILITY]).await?;
    let open: BTreeSet<RoomNid> = state
        .iter()
        .filter(|event| is_open(event))
        .map(|event| event.room_nid)
        .collect();
    let rooms = room_nids.iter();
    Ok(rooms
        .map(|room_nid| (*room_nid, open.contains(room_nid)))
        .collect())
}

/// Whether an event of the state opens its room to anybody.
fn is_open(event: &StoredEvent) -> bool {
    let pdu: &Pdu = &event.pdu;
    if pdu.state_key() != Some("") {
        return false;
    }
    match pdu.event_type() {
        JOIN_RULES => {
            #[derive(Deserialize)]
            struct Content {
                join_rule: String,
            }
            let content = pdu.content_as::<Content>();
            content.is_ok_and(|content| content.join_rule == "public")
        }
        HISTORY_VISIBILITY => {
            let visibility = event::visibility::history_visibility(pdu);
            visibility == Some(HistoryVisibility::WorldReadable)
        }
        _ => false,
    }
}
