//! Changes of device lists, as `device_lists` in `/sync` and `/keys/changes` report them.

use std::{borrow::Cow, collections::BTreeSet};

use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};
use serde::Deserialize;
use types::StreamPosition;

use crate::{
    Connection, Error,
    escape::{escape, unescape},
    rows::id,
};

/// The changes of device lists for one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceListChanges {
    /// Users whose devices or keys changed, or who share a room with the user only since then; the
    /// user, too, after joining a room with such users.
    pub changed: BTreeSet<OwnedUserId>,
    /// Users who shared a room with the user then and do no longer.
    pub left: BTreeSet<OwnedUserId>,
}

/// What changed for a user after `from`, up to and including `to`.
///
/// Memberships are compared between the two positions: what comes after `to` is for the next call.
/// Two statements, and two more when members of the user's rooms have joined or left.
#[tracing::instrument(name = "storage.device_lists.changed", level = "debug", skip_all)]
pub async fn changed_between(
    db: &mut Connection,
    user_id: &UserId,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<DeviceListChanges, Error> {
    let mut changes = DeviceListChanges {
        changed: updated(&mut *db, user_id, from, to).await?,
        left: BTreeSet::new(),
    };
    let rooms = Rooms::of(&mut *db, user_id, from, to).await?;
    let members = changed_members(&mut *db, user_id, (from, to), &rooms).await?;
    if members.candidates.is_empty() {
        return Ok(changes);
    }
    let sharing = sharing(db, from, &rooms, &members.candidates).await?;
    for candidate in members.candidates {
        let before =
            sharing.before.contains(&candidate) || members.shared_before.contains(&candidate);
        let after = sharing.after.contains(&candidate) || members.shared_after.contains(&candidate);
        match (before, after) {
            (false, true) => {
                if rooms.has_joined {
                    // Of the user's devices, one has joined: the clients of the others may not know.
                    changes.changed.insert(user_id.to_owned());
                }
                changes.changed.insert(candidate)
            }
            (true, false) => changes.left.insert(candidate),
            _ => continue,
        };
    }
    Ok(changes)
}

/// The users who share a room with this one, this one included, whose devices or keys changed, and
/// those whom this one has signed.
async fn updated(
    db: &mut Connection,
    user_id: &UserId,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<BTreeSet<OwnedUserId>, Error> {
    let rows = sqlx::query_scalar!(
        r#"SELECT d.user_id AS "user_id!" FROM device_lists d
         WHERE d.position > $2 AND d.position <= $3 AND (d.user_id = $1 OR EXISTS (
            SELECT FROM memberships m JOIN memberships o USING (room_nid)
            WHERE m.user_id = replace($1, '\', '\\') AND m.membership = 'join'
                AND o.user_id = replace(d.user_id, '\', '\\') AND o.membership = 'join'
         ))
         UNION
         SELECT user_id FROM user_signatures
         WHERE signer = $1 AND position > $2 AND position <= $3"#,
        user_id.as_str(),
        from.get(),
        to.get()
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(id).collect()
}

/// A membership now, and those at two earlier positions, as far as it has changed since.
struct MembershipTransition {
    room_nid: i64,
    user_id: String,
    joined: bool,
    changed: bool,
    previous: Option<String>,
    changed_later: bool,
    current: Option<String>,
}

/// Selects membership transitions between the positions `$2` and `$3`.
///
/// What a membership was at a position is what the first later delta says that it replaced, whatever
/// arrived when: an event may be known without a position, and the last one to arrive may have lost
/// against another.
macro_rules! select_transitions {
    ($condition:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            MembershipTransition,
            r#"SELECT m.room_nid AS "room_nid!", m.user_id AS "user_id!", m.membership = 'join' AS "joined!", m.position > $2 AS "changed!",
                previous.json AS "previous?", m.position > $3 AS "changed_later!", current.json AS "current?"
             FROM (
                SELECT room_nid, user_id, membership, position FROM memberships
                UNION ALL
                SELECT d.room_nid, k.state_key, 'leave', d.position
                FROM state_deltas d JOIN state_keys k USING (state_key_nid)
                WHERE d.event_nid IS NULL AND k.event_type = 'm.room.member' AND NOT EXISTS (
                    SELECT FROM memberships m WHERE m.room_nid = d.room_nid AND m.user_id = k.state_key)
             ) m
             JOIN state_keys k ON k.event_type = 'm.room.member' AND k.state_key = m.user_id
             LEFT JOIN LATERAL (
                SELECT e.json FROM state_deltas d LEFT JOIN events e ON e.event_nid = d.previous_nid
                WHERE m.position > $2 AND d.room_nid = m.room_nid
                    AND d.state_key_nid = k.state_key_nid AND d.position > $2
                ORDER BY d.position LIMIT 1
             ) previous ON true
             LEFT JOIN LATERAL (
                SELECT e.json FROM state_deltas d LEFT JOIN events e ON e.event_nid = d.previous_nid
                WHERE m.position > $3 AND d.room_nid = m.room_nid
                    AND d.state_key_nid = k.state_key_nid AND d.position > $3
                ORDER BY d.position LIMIT 1
             ) current ON true
             WHERE "#
                + $condition,
            $($argument),*
        )
    };
}

impl MembershipTransition {
    /// Whether the user was joined at the first position: as now, if nothing has happened since, or
    /// as the last membership event before it says.
    fn was_joined(&self) -> bool {
        if self.changed {
            is_join(self.previous.as_deref())
        } else {
            self.joined
        }
    }

    /// Whether the user was joined at the second position.
    fn is_joined(&self) -> bool {
        if self.changed_later {
            is_join(self.current.as_deref())
        } else {
            self.joined
        }
    }
}

/// Whether a member event is a join.
fn is_join(json: Option<&str>) -> bool {
    // Read here and not in SQL: PostgreSQL fails on JSON text that contains `\u0000`.
    #[derive(Deserialize)]
    struct Member {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        membership: MembershipState,
    }
    json.and_then(|json| serde_json::from_str::<Member>(json).ok())
        .is_some_and(|member| member.content.membership == MembershipState::Join)
}

/// The rooms that the user was in at either position.
#[derive(Default)]
struct Rooms {
    before: Vec<i64>,
    after: Vec<i64>,
    /// Those of both.
    stayed: Vec<i64>,
    /// Those of only one.
    changed: Vec<i64>,
    /// Whether some of them are new.
    has_joined: bool,
}

impl Rooms {
    async fn of(
        db: &mut Connection,
        user_id: &UserId,
        from: StreamPosition,
        to: StreamPosition,
    ) -> Result<Self, Error> {
        let rows = select_transitions!(
            "m.user_id = $1 AND (m.membership = 'join' OR m.position > $2)",
            &*escape(user_id.as_str()),
            from.get(),
            to.get()
        )
        .fetch_all(db)
        .await?;
        let mut rooms = Self::default();
        for row in rows {
            let (before, after) = (row.was_joined(), row.is_joined());
            if before {
                rooms.before.push(row.room_nid);
            }
            if after {
                rooms.after.push(row.room_nid);
            }
            match (before, after) {
                (true, true) => rooms.stayed.push(row.room_nid),
                (false, false) => {}
                _ => {
                    rooms.changed.push(row.room_nid);
                    rooms.has_joined |= after;
                }
            }
        }
        Ok(rooms)
    }
}

/// The users with whom it may have changed whether a room is shared.
#[derive(Default)]
struct ChangedMembers {
    candidates: BTreeSet<OwnedUserId>,
    /// Those of whom it is known that they shared a room at the first position.
    shared_before: BTreeSet<OwnedUserId>,
    /// Those of whom it is known that they shared a room at the second position.
    shared_after: BTreeSet<OwnedUserId>,
}

/// Who joined or left the rooms that the user stayed in, and all members of those that the user
/// joined or left.
async fn changed_members(
    db: &mut Connection,
    user_id: &UserId,
    (from, to): (StreamPosition, StreamPosition),
    rooms: &Rooms,
) -> Result<ChangedMembers, Error> {
    let rows = select_transitions!(
        "m.user_id <> $1 AND (
            (m.room_nid = ANY($4) AND m.position > $2) OR
            (m.room_nid = ANY($5) AND (m.membership = 'join' OR m.position > $2))
         )",
        &*escape(user_id.as_str()),
        from.get(),
        to.get(),
        &rooms.stayed,
        &rooms.changed
    )
    .fetch_all(db)
    .await?;
    let mut members = ChangedMembers::default();
    for row in rows {
        let shared_before = row.was_joined() && rooms.before.contains(&row.room_nid);
        let shared_after = row.is_joined() && rooms.after.contains(&row.room_nid);
        let user_id: OwnedUserId = id(unescape(row.user_id))?;
        if shared_before {
            members.shared_before.insert(user_id.clone());
        }
        if shared_after {
            members.shared_after.insert(user_id.clone());
        }
        if shared_before != shared_after {
            members.candidates.insert(user_id);
        }
    }
    Ok(members)
}

/// Users whose membership has not changed since the first position.
struct Sharing {
    before: BTreeSet<OwnedUserId>,
    after: BTreeSet<OwnedUserId>,
}

/// With which of the candidates a room was shared at either position, judging by the memberships
/// that have not changed since.
async fn sharing(
    db: &mut Connection,
    from: StreamPosition,
    rooms: &Rooms,
    candidates: &BTreeSet<OwnedUserId>,
) -> Result<Sharing, Error> {
    let candidates = candidates.iter().map(|user_id| escape(user_id.as_str()));
    let candidates: Vec<String> = candidates.map(Cow::into_owned).collect();
    let rows = sqlx::query!(
        r#"SELECT user_id, bool_or(room_nid = ANY($3)) AS "before!", bool_or(room_nid = ANY($4)) AS "after!"
         FROM memberships
         WHERE user_id = ANY($1) AND membership = 'join' AND position <= $2
            AND (room_nid = ANY($3) OR room_nid = ANY($4))
         GROUP BY user_id"#,
        &candidates,
        from.get(),
        &rooms.before,
        &rooms.after
    )
    .fetch_all(db)
    .await?;
    let mut sharing = Sharing {
        before: BTreeSet::new(),
        after: BTreeSet::new(),
    };
    for row in rows {
        let user_id: OwnedUserId = id(unescape(row.user_id))?;
        if row.before {
            sharing.before.insert(user_id.clone());
        }
        if row.after {
            sharing.after.insert(user_id);
        }
    }
    Ok(sharing)
}
