//! Profile fields; values are JSON text.

use ruma::UserId;

use crate::{Connection, Error};

/// All fields of a user's profile, by name.
pub async fn of_user(
    db: &mut Connection,
    user_id: &UserId,
) -> Result<Vec<(String, String)>, Error> {
    let rows = sqlx::query!(
        "SELECT field, value FROM profiles WHERE user_id = $1 ORDER BY field",
        user_id.as_str()
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.field, row.value)).collect())
}

/// Sets a field.
pub async fn set(
    db: &mut Connection,
    user_id: &UserId,
    field: &str,
    value: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO profiles (user_id, field, value) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value",
        user_id.as_str(),
        field,
        value
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a field, if it is there.
pub async fn delete(db: &mut Connection, user_id: &UserId, field: &str) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM profiles WHERE user_id = $1 AND field = $2",
        user_id.as_str(),
        field
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a whole profile.
pub async fn delete_all(db: &mut Connection, user_id: &UserId) -> Result<(), Error> {
    sqlx::query!("DELETE FROM profiles WHERE user_id = $1", user_id.as_str())
        .execute(db)
        .await?;
    Ok(())
}
