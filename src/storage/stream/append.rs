//! The last statement of every writing transaction: positions, and the rows that carry them.

use types::StreamPosition;

use super::{Change, Changes, deduplicate};
use crate::{Connection, Error};

/// Writes the changes and gives them consecutive positions; returns the position before the first.
///
/// Takes the lock on the stream, which is held until the transaction ends: nothing may follow but
/// the commit.
#[expect(clippy::too_many_lines, reason = "one statement and its arguments")]
pub(crate) async fn append(
    db: &mut Connection,
    changes: &Changes,
) -> Result<StreamPosition, Error> {
    let events = Events::of(changes);
    let memberships = Memberships::of(changes);
    let receipts = Receipts::of(changes);
    let data = Data::of(changes);
    let messages = Messages::of(changes);
    let lists = Lists::of(changes);
    let counts = Counts::of(changes);
    let relations = Relations::of(changes);
    let signatures = Signatures::of(changes);
    // One statement, so that the lock is held for one round trip. Each family is one UNNEST over
    // arrays; those without rows cost microseconds.
    let base = sqlx::query_scalar!(
        r#"
        WITH taken AS (
            UPDATE stream SET position = position + $1 RETURNING position - $1 AS base
        ), new_events AS (
            INSERT INTO events (event_nid, room_nid, event_id, position, depth, event_type, state_key, sender,
                origin_server_ts, verdict, snapshot_nid, replaces_nid, prev_nids, auth_nids,
                transaction_device, transaction_id, json)
            SELECT r.event_nid, r.room_nid, r.event_id, base + r.ordinal, r.depth, r.event_type, r.state_key, r.sender,
                r.origin_server_ts, r.verdict, r.snapshot_nid, r.replaces_nid, r.prev_nids::bigint[],
                r.auth_nids::bigint[], r.transaction_device, r.transaction_id, r.json
            FROM taken, UNNEST($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[],
                $8::text[], $9::text[], $10::bigint[], $11::smallint[], $12::bigint[], $13::bigint[],
                $14::text[], $15::text[], $16::text[], $17::text[], $18::text[])
                AS r (ordinal, event_nid, room_nid, event_id, depth, event_type, state_key, sender,
                origin_server_ts, verdict, snapshot_nid, replaces_nid, prev_nids, auth_nids,
                transaction_device, transaction_id, json)
        ), new_memberships AS (
            INSERT INTO memberships (room_nid, user_id, membership, event_nid, position)
            SELECT r.room_nid, r.user_id, r.membership, r.event_nid, base + r.ordinal
            FROM taken, UNNEST($19::bigint[], $20::bigint[], $21::text[], $22::text[], $23::bigint[])
                AS r (ordinal, room_nid, user_id, membership, event_nid)
            ON CONFLICT (room_nid, user_id) DO UPDATE SET membership = excluded.membership,
                event_nid = excluded.event_nid, forgotten = false,
                position = CASE WHEN memberships.membership = 'join' AND excluded.membership = 'join'
                    THEN memberships.position ELSE excluded.position END
        ), new_receipts AS (
            INSERT INTO receipts (room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts, position)
            SELECT r.room_nid, r.user_id, r.receipt_type, r.thread_id, r.event_id, r.event_position, r.ts,
                base + r.ordinal
            FROM taken, UNNEST($24::bigint[], $25::bigint[], $26::text[], $27::text[], $28::text[], $29::text[],
                $30::bigint[], $31::bigint[])
                AS r (ordinal, room_nid, user_id, receipt_type, thread_id, event_id, event_position, ts)
            ON CONFLICT (room_nid, user_id, receipt_type, thread_id) DO UPDATE SET
                event_id = excluded.event_id, event_position = excluded.event_position,
                ts = excluded.ts, position = excluded.position
                WHERE receipts.event_position <= excluded.event_position
        ), new_account_data AS (
            INSERT INTO account_data (user_id, room_nid, event_type, content, position)
            SELECT r.user_id, r.room_nid, r.event_type, r.content, base + r.ordinal
            FROM taken, UNNEST($32::bigint[], $33::text[], $34::bigint[], $35::text[], $36::text[])
                AS r (ordinal, user_id, room_nid, event_type, content)
            ON CONFLICT (user_id, room_nid, event_type) DO UPDATE SET
                content = excluded.content, position = excluded.position
        ), new_to_device AS (
            INSERT INTO to_device (user_id, device_id, position, sender, event_type, content)
            SELECT r.user_id, r.device_id, base + r.ordinal, r.sender, r.event_type, r.content
            FROM taken, UNNEST($37::bigint[], $38::text[], $39::text[], $40::text[], $41::text[], $42::text[])
                AS r (ordinal, user_id, device_id, sender, event_type, content)
        ), new_device_lists AS (
            INSERT INTO device_lists (user_id, position)
            SELECT r.user_id, base + r.ordinal FROM taken, UNNEST($43::bigint[], $44::text[]) AS r (ordinal, user_id)
            ON CONFLICT (user_id) DO UPDATE SET position = excluded.position
        ), new_key_counts AS (
            INSERT INTO key_counts (user_id, device_id, position)
            SELECT r.user_id, r.device_id, base + r.ordinal
            FROM taken, UNNEST($45::bigint[], $46::text[], $47::text[]) AS r (ordinal, user_id, device_id)
            ON CONFLICT (user_id, device_id) DO UPDATE SET position = excluded.position
        ), new_relations AS (
            INSERT INTO relations (room_nid, target_id, position, event_nid, rel_type)
            SELECT r.room_nid, r.target_id, base + r.ordinal, r.event_nid, r.rel_type
            FROM taken, UNNEST($48::bigint[], $49::bigint[], $50::text[], $51::bigint[], $52::text[])
                AS r (ordinal, room_nid, target_id, event_nid, rel_type)
        ), new_user_signatures AS (
            INSERT INTO user_signatures (signer, user_id, position)
            SELECT r.signer, r.user_id, base + r.ordinal
            FROM taken, UNNEST($53::bigint[], $54::text[], $55::text[]) AS r (ordinal, signer, user_id)
            ON CONFLICT (signer, user_id) DO UPDATE SET position = excluded.position
        )
        SELECT base AS "base!" FROM taken
        "#,
        changes.len() as i64,
        &events.ordinal,
        &events.nid,
        &events.room_nid,
        &events.event_id,
        &events.depth,
        &events.event_type,
        &events.state_key as &[Option<String>],
        &events.sender,
        &events.ts,
        &events.verdict,
        &events.snapshot_nid,
        &events.replaces_nid as &[Option<i64>],
        &events.prev_nids,
        &events.auth_nids,
        &events.transaction_device as &[Option<String>],
        &events.transaction_id as &[Option<String>],
        &events.json,
        &memberships.ordinal,
        &memberships.room_nid,
        &memberships.user_id,
        &memberships.membership,
        &memberships.event_nid,
        &receipts.ordinal,
        &receipts.room_nid,
        &receipts.user_id,
        &receipts.receipt_type,
        &receipts.thread_id,
        &receipts.event_id,
        &receipts.event_position,
        &receipts.ts,
        &data.ordinal,
        &data.user_id,
        &data.room_nid,
        &data.event_type,
        &data.content,
        &messages.ordinal,
        &messages.user_id,
        &messages.device_id,
        &messages.sender,
        &messages.event_type,
        &messages.content,
        &lists.ordinal,
        &lists.user_id,
        &counts.ordinal,
        &counts.user_id,
        &counts.device_id,
        &relations.ordinal,
        &relations.room_nid,
        &relations.target_id,
        &relations.event_nid,
        &relations.rel_type,
        &signatures.ordinal,
        &signatures.signer,
        &signatures.user_id,
    )
    .fetch_one(db)
    .await?;
    Ok(StreamPosition(base))
}

/// Declares a struct of one array a column, filled row by row.
macro_rules! columns {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Default)]
        struct $name {
            ordinal: Vec<i64>,
            $($field: Vec<$type>,)*
        }

        impl $name {
            fn push(&mut self, ordinal: i64, ($($field,)*): ($($type,)*)) {
                self.ordinal.push(ordinal);
                $(self.$field.push($field);)*
            }
        }

        impl FromIterator<(i64, ($($type,)*))> for $name {
            fn from_iter<I: IntoIterator<Item = (i64, ($($type,)*))>>(rows: I) -> Self {
                let mut columns = Self::default();
                for (ordinal, row) in rows {
                    columns.push(ordinal, row);
                }
                columns
            }
        }
    };
}

columns!(Events {
    nid: i64, room_nid: i64, event_id: String, depth: i64, event_type: String, state_key: Option<String>, sender: String,
    ts: i64, verdict: i16, snapshot_nid: i64, replaces_nid: Option<i64>, prev_nids: String, auth_nids: String,
    transaction_device: Option<String>, transaction_id: Option<String>, json: String,
});
columns!(Memberships {
    room_nid: i64,
    user_id: String,
    membership: String,
    event_nid: i64
});
columns!(Receipts {
    room_nid: i64,
    user_id: String,
    receipt_type: String,
    thread_id: String,
    event_id: String,
    event_position: i64,
    ts: i64
});
columns!(Data {
    user_id: String,
    room_nid: i64,
    event_type: String,
    content: String
});
columns!(Messages {
    user_id: String,
    device_id: String,
    sender: String,
    event_type: String,
    content: String
});
columns!(Lists { user_id: String });
columns!(Counts {
    user_id: String,
    device_id: String
});
columns!(Relations {
    room_nid: i64,
    target_id: String,
    event_nid: i64,
    rel_type: String
});
columns!(Signatures {
    signer: String,
    user_id: String
});

impl Events {
    fn of(changes: &Changes) -> Self {
        let mut columns = Self::default();
        for (ordinal, change) in changes.numbered() {
            let Change::Event(change) = change else {
                continue;
            };
            let (event, pdu) = (&change.event, &change.event.pdu);
            columns.push(
                ordinal,
                (
                    event.nid.get(),
                    event.room_nid.get(),
                    pdu.event_id().to_string(),
                    pdu.depth() as i64,
                    pdu.event_type().to_owned(),
                    pdu.state_key().map(ToOwned::to_owned),
                    pdu.sender().to_string(),
                    i64::from(pdu.origin_server_ts().0),
                    event.verdict.number(),
                    event.snapshot_nid.get(),
                    event.replaces.as_ref().map(|replaced| replaced.nid.get()),
                    array(&event.prev_nids),
                    array(&event.auth_nids),
                    event
                        .transaction
                        .as_ref()
                        .map(|transaction| transaction.device_id.to_string()),
                    event
                        .transaction
                        .as_ref()
                        .map(|transaction| transaction.key(pdu.event_type())),
                    pdu.json().to_owned(),
                ),
            );
        }
        columns
    }
}

impl Relations {
    fn of(changes: &Changes) -> Self {
        let rows = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::Event(change) => {
                    let relation = change.event.pdu.relation()?;
                    let row = (
                        change.event.room_nid.get(),
                        relation.event_id.to_string(),
                        change.event.nid.get(),
                        relation.rel_type,
                    );
                    Some((ordinal, row))
                }
                _ => None,
            });
        rows.collect()
    }
}

impl Memberships {
    fn of(changes: &Changes) -> Self {
        let rows = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::Event(change) if change.current => {
                    let event = &change.event;
                    let membership = event.pdu.membership()?.to_string();
                    let user_id = event.pdu.state_key()?.to_owned();
                    let row = (
                        event.room_nid.get(),
                        user_id.clone(),
                        membership,
                        event.nid.get(),
                    );
                    Some(((event.room_nid, user_id), (ordinal, row)))
                }
                _ => None,
            });
        deduplicate(rows).into_iter().collect()
    }
}

impl Receipts {
    fn of(changes: &Changes) -> Self {
        let mut rows: Vec<_> = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::Receipt(receipt) => {
                    let receipt = receipt.clone();
                    let user_id = receipt.user_id.to_string();
                    let key = (
                        receipt.room_nid,
                        user_id.clone(),
                        receipt.receipt_type.clone(),
                        receipt.thread_id.clone(),
                    );
                    let row = (
                        receipt.room_nid.get(),
                        user_id,
                        receipt.receipt_type,
                        receipt.thread_id,
                        receipt.event_id.to_string(),
                        receipt.event_position.get(),
                        receipt.ts,
                    );
                    Some((key, (ordinal, row)))
                }
                _ => None,
            })
            .collect();
        // The one that is furthest ahead is written, whichever came last.
        rows.sort_by_key(|(_, (_, row))| row.5);
        deduplicate(rows.into_iter()).into_iter().collect()
    }
}

impl Data {
    fn of(changes: &Changes) -> Self {
        let rows = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::AccountData(data) => {
                    let room_nid = data.room_nid.unwrap_or_default().get();
                    let row = (
                        data.user_id.to_string(),
                        room_nid,
                        data.event_type.clone(),
                        data.content.clone(),
                    );
                    Some(((row.0.clone(), room_nid, row.2.clone()), (ordinal, row)))
                }
                _ => None,
            });
        deduplicate(rows).into_iter().collect()
    }
}

impl Messages {
    fn of(changes: &Changes) -> Self {
        let mut columns = Self::default();
        for (ordinal, change) in changes.numbered() {
            let Change::ToDevice(message) = change else {
                continue;
            };
            columns.push(
                ordinal,
                (
                    message.user_id.to_string(),
                    message.device_id.to_string(),
                    message.sender.to_string(),
                    message.event_type.clone(),
                    message.content.clone(),
                ),
            );
        }
        columns
    }
}

impl Lists {
    fn of(changes: &Changes) -> Self {
        let rows = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::DeviceList { user_id } => {
                    Some((user_id, (ordinal, (user_id.to_string(),))))
                }
                _ => None,
            });
        deduplicate(rows).into_iter().collect()
    }
}

impl Counts {
    fn of(changes: &Changes) -> Self {
        let rows = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::KeyCounts { user_id, device_id } => {
                    let row = (user_id.to_string(), device_id.to_string());
                    Some(((user_id, device_id), (ordinal, row)))
                }
                _ => None,
            });
        deduplicate(rows).into_iter().collect()
    }
}

impl Signatures {
    fn of(changes: &Changes) -> Self {
        let rows = changes
            .numbered()
            .filter_map(|(ordinal, change)| match change {
                Change::UserSigned { signer, user_id } => {
                    let row = (signer.to_string(), user_id.to_string());
                    Some(((signer, user_id), (ordinal, row)))
                }
                _ => None,
            });
        deduplicate(rows).into_iter().collect()
    }
}

/// An array as PostgreSQL writes it: UNNEST takes no arrays of arrays.
pub(crate) fn array(nids: &[types::EventNid]) -> String {
    let mut text = String::from("{");
    for (index, nid) in nids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&nid.to_string());
    }
    text.push('}');
    text
}
