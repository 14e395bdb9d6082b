//! Users' private data, for the account and by room.

use ruma::UserId;
use types::{RoomNid, StreamPosition};

use crate::{Connection, Error, stream::AccountData};

/// The content of one kind of data.
pub async fn find(
    db: &mut Connection,
    user_id: &UserId,
    room_nid: Option<RoomNid>,
    event_type: &str,
) -> Result<Option<String>, Error> {
    let content = sqlx::query_scalar!(
        "SELECT content FROM account_data WHERE user_id = $1 AND room_nid = $2 AND event_type = $3",
        user_id.as_str(),
        room_nid.unwrap_or_default().get(),
        event_type
    )
    .fetch_optional(db)
    .await?;
    Ok(content)
}

/// The types of global account data that a user has among these, with their contents.
pub async fn find_global(
    db: &mut Connection,
    user_id: &UserId,
    event_types: &[&str],
) -> Result<Vec<(String, String)>, Error> {
    let rows = sqlx::query!(
        "SELECT event_type, content FROM account_data
         WHERE user_id = $1 AND room_nid = 0 AND event_type = ANY($2)",
        user_id.as_str(),
        event_types as &[&str]
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows.map(|row| (row.event_type, row.content)).collect())
}

/// The types of data that a user has of a room, with their contents.
pub async fn of_room(
    db: &mut Connection,
    user_id: &UserId,
    room_nid: RoomNid,
) -> Result<Vec<(String, String)>, Error> {
    let rows = sqlx::query!(
        "SELECT event_type, content FROM account_data
         WHERE user_id = $1 AND room_nid = $2 ORDER BY event_type",
        user_id.as_str(),
        room_nid.get()
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows.map(|row| (row.event_type, row.content)).collect())
}

/// The size of a user's account data in bytes: of all of it, and of one type.
pub async fn sizes(
    db: &mut Connection,
    user_id: &UserId,
    room_nid: Option<RoomNid>,
    event_type: &str,
) -> Result<(i64, i64), Error> {
    // The length of a large value is read without reading the value.
    let row = sqlx::query!(
        r#"SELECT COALESCE(SUM(octet_length(content) + octet_length(event_type)), 0)::bigint AS "all!",
             COALESCE(SUM(octet_length(content) + octet_length(event_type))
                 FILTER (WHERE room_nid = $2 AND event_type = $3), 0)::bigint AS "one!"
         FROM account_data WHERE user_id = $1"#,
        user_id.as_str(),
        room_nid.unwrap_or_default().get(),
        event_type
    )
    .fetch_one(db)
    .await?;
    Ok((row.all, row.one))
}

/// What changed after `from`, of the account and all rooms, oldest first.
pub async fn since(
    db: &mut Connection,
    user_id: &UserId,
    from: StreamPosition,
) -> Result<Vec<(StreamPosition, AccountData)>, Error> {
    let rows = sqlx::query!(
        "SELECT room_nid, event_type, content, position FROM account_data
         WHERE user_id = $1 AND position > $2 ORDER BY position",
        user_id.as_str(),
        from.get()
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let data = AccountData {
                user_id: user_id.to_owned(),
                room_nid: (row.room_nid != 0).then_some(RoomNid(row.room_nid)),
                event_type: row.event_type,
                content: row.content,
            };
            (StreamPosition(row.position), data)
        })
        .collect())
}

/// Which of these types of global data a user has, without those that are empty.
pub async fn existing(
    db: &mut Connection,
    user_id: &UserId,
    event_types: &[String],
) -> Result<Vec<String>, Error> {
    let existing = sqlx::query_scalar!(
        "SELECT event_type FROM account_data
         WHERE user_id = $1 AND room_nid = 0 AND event_type = ANY($2) AND content <> '{}'",
        user_id.as_str(),
        event_types
    )
    .fetch_all(db)
    .await?;
    Ok(existing)
}

/// Removes all data of a closed account; without a position in the stream.
pub async fn delete_all(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM account_data WHERE user_id = $1",
        user_id.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}
