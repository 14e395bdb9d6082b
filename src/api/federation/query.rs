//! Queries of other servers about users and aliases of this one.
//!
//! Spec: server-server, "Querying for information".

use ruma::api::federation::{
    openid::get_openid_userinfo,
    query::{get_profile_information, get_room_information},
};
use serde_json::Value;
use types::ErrorKind;

use crate::{App, Error, Matrix, Result, json::RawJson};

/// A user's profile, or one field of it; a field that is not set is left out.
pub(crate) async fn profile(
    app: App,
    call: Matrix<get_profile_information::v1::Request>,
) -> Result<RawJson> {
    let mut profile = app.identity.profile(&call.request.user_id).await?;
    if let Some(field) = &call.request.field {
        profile.0.retain(|name, _| name == field.as_str());
    }
    Ok(Value::Object(profile.0).to_string().into())
}

/// The room of an alias.
pub(crate) async fn directory(
    app: App,
    call: Matrix<get_room_information::v1::Request>,
) -> Result<get_room_information::v1::Response> {
    let alias = &call.request.room_alias;
    if alias.server_name() != app.server_name {
        return Err(Error::new(
            ErrorKind::NotFound,
            "The alias is not of this server",
        ));
    }
    let room_id = app.rooms.resolve_alias(alias).await?;
    let servers = app.rooms.servers(&room_id).await?;
    Ok(get_room_information::v1::Response::new(room_id, servers))
}

/// The user who has created an `OpenID` token. Whoever has it may ask.
pub(crate) async fn openid_user(
    app: App,
    call: Matrix<get_openid_userinfo::v1::Request>,
) -> Result<get_openid_userinfo::v1::Response> {
    let user_id = app.identity.openid_user(&call.request.access_token).await?;
    Ok(get_openid_userinfo::v1::Response::new(user_id))
}
