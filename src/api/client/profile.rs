//! Profiles.

use http::Method;
use identity::{Caller, Profile};
use ruma::{
    OwnedUserId, UserId,
    api::{
        IncomingRequest, Metadata,
        client::profile::{
            delete_profile_field, get_profile, get_profile_field,
            set_profile_field::{self, v3::Request as Typed},
        },
        error::DeserializationError,
    },
    profile::ProfileFieldName,
};
use serde::{
    Deserialize,
    de::{Error as _, value::SeqDeserializer},
};
use serde_json::{Map, Value};
use types::ErrorKind;

use super::{check_is_caller, sender};
use crate::{App, Error, Matrix, Result, json::RawJson};

/// Returns a user's profile, which the user's server is asked for.
pub(crate) async fn all(app: App, call: Matrix<get_profile::v3::Request>) -> Result<RawJson> {
    let profile = profile(&app, &call.request.user_id, None).await?;
    Ok(Value::Object(profile).to_string().into())
}

/// Returns one field of a user's profile.
pub(crate) async fn field(
    app: App,
    call: Matrix<get_profile_field::v3::Request>,
) -> Result<RawJson> {
    let field = call.request.field;
    let mut profile = profile(&app, &call.request.user_id, Some(&field)).await?;
    let (field, value) = profile
        .remove_entry(field.as_str())
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "The profile has no such field"))?;
    Ok(Value::Object(Map::from_iter([(field, value)]))
        .to_string()
        .into())
}

/// The profile of a user of this or another server; `field` is the one that is needed.
async fn profile(
    app: &App,
    user_id: &UserId,
    field: Option<&ProfileFieldName>,
) -> Result<Map<String, Value>> {
    if user_id.server_name() == app.server_name {
        return Ok(app.identity.profile(user_id).await?.0);
    }
    Ok(app
        .federation
        .query_profile(user_id, field.cloned())
        .await?)
}

/// Sets a field of the caller's profile and updates the caller's rooms.
pub(crate) async fn set(
    app: App,
    call: Matrix<SetFieldRequest>,
) -> Result<set_profile_field::v3::Response> {
    let SetFieldRequest {
        user_id,
        field,
        value,
    } = call.request;
    check_is_caller(&call.caller, &user_id)?;
    let profile = match value {
        Some(value) => {
            app.identity
                .set_profile_field(&user_id, &field, &value)
                .await?
        }
        None => app.identity.delete_profile_field(&user_id, &field).await?,
    };
    update_rooms(&app, &call.caller, &field, &profile).await?;
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
        .delete_profile_field(&call.request.user_id, field)
        .await?;
    update_rooms(&app, &call.caller, field, &profile).await?;
    Ok(delete_profile_field::v3::Response::new())
}

/// Updates the membership events, which contain display name and avatar.
async fn update_rooms(app: &App, caller: &Caller, field: &str, profile: &Profile) -> Result<()> {
    if matches!(field, "displayname" | "avatar_url") {
        app.rooms
            .update_profile(&sender(caller), &room_profile(profile))
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

/// `PUT` of a field. Unlike ruma's type it accepts a body without the field, with which clients
/// remove a display name or avatar.
pub(crate) struct SetFieldRequest {
    user_id: OwnedUserId,
    field: String,
    /// `None` to remove the field.
    value: Option<Value>,
}

impl Metadata for SetFieldRequest {
    const METHOD: Method = Typed::METHOD;
    const RATE_LIMITED: bool = Typed::RATE_LIMITED;
    type Authentication = <Typed as Metadata>::Authentication;
    type PathBuilder = <Typed as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Typed::PATH_BUILDER;
}

impl IncomingRequest for SetFieldRequest {
    type EndpointError = <Typed as IncomingRequest>::EndpointError;
    type OutgoingResponse = set_profile_field::v3::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let arguments =
            SeqDeserializer::<_, serde::de::value::Error>::new(path_args.iter().copied());
        let (user_id, field): (OwnedUserId, String) = Deserialize::deserialize(arguments)?;
        let mut body: Map<String, Value> = serde_json::from_slice(request.body())?;
        let value = body.remove(&field);
        if value.is_none() && !matches!(&*field, "displayname" | "avatar_url") {
            return Err(serde_json::Error::custom(format!("missing field `{field}`")).into());
        }
        Ok(Self {
            user_id,
            field,
            value,
        })
    }
}
