//! Reading the stream from the tables, for changes that other processes committed.

use std::collections::HashMap;

use ruma::{OwnedDeviceId, OwnedUserId};
use types::{RoomNid, StreamPosition};

use super::{AccountData, Change, ChangeKind, EventChange, OutgoingToDevice, ToDevice, receipt};
use crate::{
    Connection, Error, events, partial_states, recent::PositionedChanges, rows::id, state_deltas,
};

/// Adds a change for each row of a table with a position after `$from`, up to and including `$to`.
macro_rules! read_rows {
    ($db:ident, $from:ident, $to:ident, $changes:ident, $select:literal, |$row:ident| $change:expr) => {
        let rows = sqlx::query!(
            $select + " WHERE position > $1 AND position <= $2",
            $from.get(),
            $to.get()
        )
        .fetch_all(&mut *$db)
        .await?;
        for $row in rows {
            let position = StreamPosition($row.position);
            $changes.push((position, $change));
        }
    };
}

/// The changes after `from`, up to and including `to`, in order.
///
/// Rows that were replaced by a later change of the same thing are found at the later position
/// only.
#[tracing::instrument(name = "storage.stream.read", level = "debug", skip_all, fields(from = from.get(), to = to.get()))]
pub async fn read(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<Vec<(StreamPosition, Change)>, Error> {
    read_kinds(db, from, to, &ChangeKind::ALL).await
}

/// The same of some kinds only, from the tables of those alone.
pub async fn read_kinds(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    kinds: &[ChangeKind],
) -> Result<Vec<(StreamPosition, Change)>, Error> {
    let mut changes = Vec::new();
    let present = if kinds.len() > 1 {
        present_kinds(db, from, to).await?
    } else {
        kinds.to_vec()
    };
    for kind in kinds.iter().filter(|kind| present.contains(kind)) {
        match kind {
            ChangeKind::Event => timeline_events(db, from, to, &mut changes).await?,
            ChangeKind::State => state(db, from, to, &mut changes).await?,
            ChangeKind::PartialState => {
                changes.extend(partial_states::between(db, from, to).await?);
            }
            ChangeKind::Receipt => receipts(db, from, to, &mut changes).await?,
            ChangeKind::AccountData => account_data(db, from, to, &mut changes).await?,
            ChangeKind::ToDevice => to_device(db, from, to, &mut changes).await?,
            ChangeKind::OutgoingToDevice => outgoing_to_device(db, from, to, &mut changes).await?,
            ChangeKind::DeviceList => device_lists(db, from, to, &mut changes).await?,
            ChangeKind::UserSigned => user_signatures(db, from, to, &mut changes).await?,
            ChangeKind::KeyCounts => key_counts(db, from, to, &mut changes).await?,
        }
    }
    changes.sort_by_key(|(position, _)| *position);
    Ok(changes)
}

/// Where to stop in the stream instead of at `end`: what an event changes in the state of its room stands
/// right after it, and belongs to it.
pub async fn batch_end(db: &mut Connection, end: StreamPosition) -> Result<StreamPosition, Error> {
    let next = end.get() + 1;
    let is_state = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM state_deltas WHERE position = $1) AS "is_state!""#,
        next
    )
    .fetch_one(db)
    .await?;
    Ok(if is_state { StreamPosition(next) } else { end })
}

/// The kinds of which there are changes: most often one or two, found in one query.
async fn present_kinds(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<Vec<ChangeKind>, Error> {
    let found = sqlx::query!(
        r#"SELECT EXISTS (SELECT FROM events WHERE position > $1 AND position <= $2) AS "events!",
            EXISTS (SELECT FROM state_deltas WHERE position > $1 AND position <= $2) AS "state!",
            EXISTS (SELECT FROM partial_states WHERE (since > $1 AND since <= $2)
                OR (completed_at > $1 AND completed_at <= $2)) AS "partial_states!",
            EXISTS (SELECT FROM receipts WHERE position > $1 AND position <= $2) AS "receipts!",
            EXISTS (SELECT FROM account_data WHERE position > $1 AND position <= $2) AS "account_data!",
            EXISTS (SELECT FROM to_device WHERE position > $1 AND position <= $2) AS "to_device!",
            EXISTS (SELECT FROM outgoing_to_device WHERE position > $1 AND position <= $2) AS "outgoing_to_device!",
            EXISTS (SELECT FROM device_lists WHERE position > $1 AND position <= $2) AS "device_lists!",
            EXISTS (SELECT FROM user_signatures WHERE position > $1 AND position <= $2) AS "user_signatures!",
            EXISTS (SELECT FROM key_count_changes WHERE position > $1 AND position <= $2) AS "key_counts!""#,
        from.get(),
        to.get()
    )
    .fetch_one(db)
    .await?;
    let kinds = [
        (ChangeKind::Event, found.events),
        (ChangeKind::State, found.state),
        (ChangeKind::PartialState, found.partial_states),
        (ChangeKind::Receipt, found.receipts),
        (ChangeKind::AccountData, found.account_data),
        (ChangeKind::ToDevice, found.to_device),
        (ChangeKind::OutgoingToDevice, found.outgoing_to_device),
        (ChangeKind::DeviceList, found.device_lists),
        (ChangeKind::UserSigned, found.user_signatures),
        (ChangeKind::KeyCounts, found.key_counts),
    ];
    let present = kinds.into_iter().filter(|(_, is_present)| *is_present);
    Ok(present.map(|(kind, _)| kind).collect())
}

/// Events with the effect of redactions.
async fn timeline_events(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    let events = events::between(db, from, to).await?;
    let redactions: Vec<_> = events
        .iter()
        .filter_map(|event| Some((event.nid, event.pdu.redacts()?.to_owned())))
        .collect();
    let mut redacted = if redactions.is_empty() {
        HashMap::new()
    } else {
        events::redacted(db, &redactions).await?
    };
    for event in events {
        let redacts = redacted.remove(event.pdu.event_id());
        let position = event.position.unwrap_or(to);
        changes.push((position, Change::Event(EventChange { event, redacts })));
    }
    Ok(())
}

async fn state(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    let deltas = state_deltas::between(db, from, to).await?.into_iter();
    changes.extend(deltas.map(|(position, delta)| (position, Change::State(delta))));
    Ok(())
}

async fn receipts(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    read_rows!(
        db,
        from,
        to,
        changes,
        "SELECT room_nid, user_id, receipt_type, thread_id, event_id, event_order, ts, position
         FROM receipts",
        |row| Change::Receipt(receipt!(row))
    );
    Ok(())
}

async fn account_data(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    read_rows!(
        db,
        from,
        to,
        changes,
        "SELECT user_id, room_nid, event_type, content, position FROM account_data",
        |row| Change::AccountData(AccountData {
            user_id: id(row.user_id)?,
            room_nid: (row.room_nid != 0).then_some(RoomNid(row.room_nid)),
            event_type: row.event_type,
            content: row.content,
        })
    );
    Ok(())
}

async fn to_device(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    read_rows!(
        db,
        from,
        to,
        changes,
        "SELECT user_id, device_id, position, sender, event_type, content FROM to_device",
        |row| Change::ToDevice(ToDevice {
            user_id: id(row.user_id)?,
            device_id: row.device_id.into(),
            sender: id(row.sender)?,
            event_type: row.event_type,
            content: row.content.into(),
            transaction: None,
        })
    );
    Ok(())
}

async fn outgoing_to_device(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    read_rows!(
        db,
        from,
        to,
        changes,
        "SELECT position, server_name, sender, event_type, messages FROM outgoing_to_device",
        |row| Change::OutgoingToDevice(OutgoingToDevice {
            server_name: id(row.server_name)?,
            sender: id(row.sender)?,
            event_type: row.event_type,
            messages: row.messages.into(),
            transaction: None,
        })
    );
    Ok(())
}

async fn device_lists(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    read_rows!(
        db,
        from,
        to,
        changes,
        "SELECT user_id, position FROM device_lists",
        |row| Change::DeviceList {
            user_id: id(row.user_id)?,
        }
    );
    Ok(())
}

/// The changes that a row stands for are all found at the position of the last.
async fn key_counts(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    let rows = sqlx::query!(
        "SELECT position, devices FROM key_count_changes WHERE position > $1 AND position <= $2",
        from.get(),
        to.get()
    )
    .fetch_all(db)
    .await?;
    for row in rows {
        let devices: Vec<(OwnedUserId, OwnedDeviceId)> = serde_json::from_str(&row.devices)
            .map_err(|error| Error::Corrupt(format!("key counts at {}: {error}", row.position)))?;
        let position = StreamPosition(row.position);
        let change = |(user_id, device_id)| (position, Change::KeyCounts { user_id, device_id });
        changes.extend(devices.into_iter().map(change));
    }
    Ok(())
}

async fn user_signatures(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut PositionedChanges,
) -> Result<(), Error> {
    read_rows!(
        db,
        from,
        to,
        changes,
        "SELECT signer, user_id, position FROM user_signatures",
        |row| Change::UserSigned {
            signer: id(row.signer)?,
            user_id: id(row.user_id)?,
        }
    );
    Ok(())
}
