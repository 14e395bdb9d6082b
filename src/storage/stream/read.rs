//! Reading the stream from the tables, for changes that other processes committed.

use types::{RoomNid, StreamPosition};

use super::{AccountData, Change, EventChange, Receipt, ToDevice};
use crate::{Connection, Error, Verdict, events, rows::id};

/// Fetches the rows of a table with a position after `from`, up to and including `to`.
macro_rules! fetch_between {
    ($db:expr, $from:expr, $to:expr, $select:literal) => {
        sqlx::query!(
            $select + " WHERE position > $1 AND position <= $2",
            $from.get(),
            $to.get()
        )
        .fetch_all(&mut *$db)
        .await
    };
}

/// The changes after `from`, up to and including `to`, in order.
///
/// Rows that were replaced by a later change of the same thing are found at the later position
/// only. Redactions carry no effect here: caches of events must reload them.
pub async fn read(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
) -> Result<Vec<(StreamPosition, Change)>, Error> {
    let mut changes = Vec::new();
    for event in events::between(db, from, to).await? {
        let current = event.pdu.is_state() && event.verdict == Verdict::Accepted;
        let position = event.position;
        changes.push((
            position,
            Change::Event(EventChange {
                event,
                current,
                redacts: None,
            }),
        ));
    }
    receipts(db, from, to, &mut changes).await?;
    account_data(db, from, to, &mut changes).await?;
    devices(db, from, to, &mut changes).await?;
    changes.sort_by_key(|(position, _)| *position);
    Ok(changes)
}

type Found = Vec<(StreamPosition, Change)>;

async fn receipts(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut Found,
) -> Result<(), Error> {
    let rows = fetch_between!(
        db,
        from,
        to,
        "SELECT room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts, position
         FROM receipts"
    )?;
    for row in rows {
        let receipt = Receipt {
            room_nid: RoomNid(row.room_nid),
            user_id: id(row.user_id)?,
            receipt_type: row.receipt_type,
            thread_id: row.thread_id,
            event_id: id(row.event_id)?,
            event_position: StreamPosition(row.event_position),
            ts: row.ts,
        };
        changes.push((StreamPosition(row.position), Change::Receipt(receipt)));
    }
    Ok(())
}

async fn account_data(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut Found,
) -> Result<(), Error> {
    let rows = fetch_between!(
        db,
        from,
        to,
        "SELECT user_id, room_nid, event_type, content, position FROM account_data"
    )?;
    for row in rows {
        let data = AccountData {
            user_id: id(row.user_id)?,
            room_nid: (row.room_nid != 0).then_some(RoomNid(row.room_nid)),
            event_type: row.event_type,
            content: row.content,
        };
        changes.push((StreamPosition(row.position), Change::AccountData(data)));
    }
    Ok(())
}

async fn devices(
    db: &mut Connection,
    from: StreamPosition,
    to: StreamPosition,
    changes: &mut Found,
) -> Result<(), Error> {
    let messages = fetch_between!(
        db,
        from,
        to,
        "SELECT user_id, device_id, position, sender, event_type, content FROM to_device"
    )?;
    for row in messages {
        let message = ToDevice {
            user_id: id(row.user_id)?,
            device_id: row.device_id.into(),
            sender: id(row.sender)?,
            event_type: row.event_type,
            content: row.content,
        };
        changes.push((StreamPosition(row.position), Change::ToDevice(message)));
    }
    let lists = fetch_between!(db, from, to, "SELECT user_id, position FROM device_lists")?;
    for row in lists {
        changes.push((
            StreamPosition(row.position),
            Change::DeviceList {
                user_id: id(row.user_id)?,
            },
        ));
    }
    let counts = fetch_between!(
        db,
        from,
        to,
        "SELECT user_id, device_id, position FROM key_counts"
    )?;
    for row in counts {
        let change = Change::KeyCounts {
            user_id: id(row.user_id)?,
            device_id: row.device_id.into(),
        };
        changes.push((StreamPosition(row.position), change));
    }
    let signatures = fetch_between!(
        db,
        from,
        to,
        "SELECT signer, user_id, position FROM user_signatures"
    )?;
    for row in signatures {
        let change = Change::UserSigned {
            signer: id(row.signer)?,
            user_id: id(row.user_id)?,
        };
        changes.push((StreamPosition(row.position), change));
    }
    Ok(())
}
