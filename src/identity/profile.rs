//! User profiles.

use ruma::{MxcUri, UserId};
use serde_json::{Map, Value};

use crate::{Error, Identity, Result, user_directory};

/// The most that a profile may take, in bytes of JSON. Spec: client-server, "Profiles".
const MAX_PROFILE: usize = 64 * 1024;
/// The longest name of a field, in bytes.
const MAX_KEY: usize = 255;
/// The longest display name, in characters.
const MAX_DISPLAY_NAME: usize = 256;
/// The longest avatar URL, in bytes.
const MAX_AVATAR_URL: usize = 1000;

/// A user's profile: fields by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile(pub Map<String, Value>);

impl Profile {
    /// The display name.
    pub fn display_name(&self) -> Option<&str> {
        self.0.get("displayname").and_then(Value::as_str)
    }

    /// The avatar, an `mxc:` URI.
    pub fn avatar_url(&self) -> Option<&str> {
        self.0.get("avatar_url").and_then(Value::as_str)
    }
}

impl Identity {
    /// The profile of a user of this server.
    pub async fn profile(&self, user_id: &UserId) -> Result<Profile> {
        if !self.is_local(user_id) || user_id.as_str().contains('\0') {
            return Err(Error::UnknownUser);
        }
        let mut db = self.0.database.acquire().await?;
        let profile = read(&mut db, user_id).await?;
        // Most users have a display name and need no second query.
        if profile.0.is_empty() && storage::users::find(&mut db, user_id).await?.is_none() {
            return Err(Error::UnknownUser);
        }
        Ok(profile)
    }

    /// Sets a field of a user's profile; an empty display name or avatar removes it.
    ///
    /// Returns the whole profile, so that the user's rooms can be updated.
    pub async fn set_profile_field(
        &self,
        user_id: &UserId,
        field: &str,
        value: &Value,
    ) -> Result<Profile> {
        check_key(field)?;
        check_value(field, value)?;
        if matches!(field, "displayname" | "avatar_url") && value.as_str() == Some("") {
            return self.delete_profile_field(user_id, field).await;
        }
        let mut tx = self.0.database.begin().await?;
        storage::users::lock(&mut tx, user_id).await?;
        let mut profile = read(&mut tx, user_id).await?;
        profile.0.insert(field.to_owned(), value.clone());
        if serde_json::to_string(&profile.0)?.len() >= MAX_PROFILE {
            return Err(Error::ProfileTooLarge);
        }
        storage::profiles::set(&mut tx, user_id, field, &value.to_string()).await?;
        if is_listed(field) {
            user_directory::list(&mut tx, user_id, &profile).await?;
        }
        tx.commit().await?;
        Ok(profile)
    }

    /// Removes a field of a user's profile and returns the rest.
    pub async fn delete_profile_field(&self, user_id: &UserId, field: &str) -> Result<Profile> {
        check_key(field)?;
        let mut tx = self.0.database.begin().await?;
        storage::users::lock(&mut tx, user_id).await?;
        storage::profiles::delete(&mut tx, user_id, field).await?;
        let profile = read(&mut tx, user_id).await?;
        if is_listed(field) {
            user_directory::list(&mut tx, user_id, &profile).await?;
        }
        tx.commit().await?;
        Ok(profile)
    }
}

/// Whether searches for users return a field.
fn is_listed(field: &str) -> bool {
    matches!(field, "displayname" | "avatar_url")
}

async fn read(db: &mut storage::Connection, user_id: &UserId) -> Result<Profile> {
    let fields = storage::profiles::of_user(db, user_id).await?;
    let fields = fields
        .into_iter()
        .map(|(field, value)| Ok((field, serde_json::from_str(&value)?)));
    Ok(Profile(fields.collect::<Result<_>>()?))
}

/// Spec: appendices, "Common Namespaced Identifier Grammar".
fn check_key(field: &str) -> Result<()> {
    if field.len() > MAX_KEY {
        return Err(Error::ProfileKeyTooLong);
    }
    let begins = field.starts_with(|first: char| first.is_ascii_lowercase());
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if !begins || !field.bytes().all(allowed) {
        return Err(Error::InvalidParam(
            "The name of the profile field is not valid",
        ));
    }
    Ok(())
}

fn check_value(field: &str, value: &Value) -> Result<()> {
    match field {
        "displayname" => {
            let name = value
                .as_str()
                .ok_or(Error::BadJson("The display name is not a string"))?;
            if name.chars().count() > MAX_DISPLAY_NAME {
                return Err(Error::InvalidParam("The display name is too long"));
            }
        }
        "avatar_url" => {
            let url = value
                .as_str()
                .ok_or(Error::BadJson("The avatar URL is not a string"))?;
            if url.len() > MAX_AVATAR_URL {
                return Err(Error::InvalidParam("The avatar URL is too long"));
            }
            if !url.is_empty() && !<&MxcUri>::from(url).is_valid() {
                return Err(Error::InvalidParam("The avatar URL is not an mxc: URI"));
            }
        }
        "m.tz" if !value.is_string() => {
            return Err(Error::BadJson("The time zone is not a string"));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_grammar() {
        for key in ["displayname", "m.tz", "org.example.job_title", "a-b"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", ".a", "1a", "Display", "a b", "é", "a\0"] {
            assert!(
                matches!(check_key(key), Err(Error::InvalidParam(_))),
                "{key}"
            );
        }
        assert!(matches!(
            check_key(&"a".repeat(256)),
            Err(Error::ProfileKeyTooLong)
        ));
    }
}
