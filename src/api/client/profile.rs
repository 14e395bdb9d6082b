//! Profiles.

use identity::{ActiveUser, Profile};
use ruma::api::client::profile::{
    delete_profile_field, get_profile, get_profile_field, set_profile_field,
};
use serde_json::{Map, Value};
use types::ErrorKind;

use crate::{App, Error, Matrix, Result, client::check_is_caller, json::RawJson};

/// Returns a user's profile.
pub(crate) async fn all(app: App, call: Matrix<get_profile::v3::Request>) -> Result<RawJson> {
    let profile = app.identity.profile(&call.request.user_id).await?;
    Ok(Value::Object(profile.0).to_string().into())
}

/// Returns one field of a user's profile.
pub(crate) async fn field(
    app: App,
    call: Matrix<get_profile_field::v3::Request>,
) -> Result<RawJson> {
    let mut profile = app.identity.profile(&call.request.user_id).await?;
    let field = call.request.field.as_str();
    let (field, value) = profile
        .0
        .remove_entry(field)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "The profile has no such field"))?;
    Ok(Value::Object(Map::from_iter([(field, value)]))
        .to_string()
        .into())
}

/// Sets a field of the caller's profile and updates the caller's rooms.
pub(crate) async fn set(
    app: App,
    call: Matrix<set_profile_field::v3::Request>,
) -> Result<set_profile_field::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let field = call.request.value.field_name();
    let value = call.request.value.value();
    let profile = app
        .identity
        .set_profile_field(&call.caller, field.as_str(), &value)
        .await?;
    update_rooms(&app, &call.caller, field.as_str(), &profile).await?;
    Ok(set_profile_field::v3::Response::new())
}

/// Removes a field of the caller's profile and updates the caller's rooms.
pub(crate) async fn delete(
    app: App,
    call: Matrix<delete_profile_field::v3::Request>,
) -> Result<delete_profile_field::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let field = call.request.field.as_str();
    let profile = app
        .identity
        .delete_profile_field(&call.caller, field)
        .await?;
    update_rooms(&app, &call.caller, field, &profile).await?;
    Ok(delete_profile_field::v3::Response::new())
}

/// Updates the membership events, which contain display name and avatar.
async fn update_rooms(app: &App, user: &ActiveUser, field: &str, profile: &Profile) -> Result<()> {
    if matches!(field, "displayname" | "avatar_url") {
        app.rooms
            .update_profile(&user.user_id, &room_profile(profile))
            .await?;
    }
    Ok(())
}

fn room_profile(profile: &Profile) -> room::Profile {
    room::Profile {
        displayname: profile.display_name().map(str::to_owned),
        avatar_url: profile.avatar_url().map(str::to_owned),
    }
}
