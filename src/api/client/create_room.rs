//! `/createRoom`.

use std::collections::BTreeMap;

use room::{CreateRoom, Preset, Profile};
use ruma::{
    OwnedRoomAliasId, OwnedUserId,
    api::client::room::{
        Visibility,
        create_room::v3::{Request, Response, RoomPreset},
    },
    events::{AnyInitialStateEvent, StateEventType},
    serde::Raw,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use types::ErrorKind;

use super::{invites, sender, upgrade::inherit_settings};
use crate::{App, Error, Matrix, Result};

/// Creates a room.
pub(crate) async fn create(app: App, call: Matrix<Request>) -> Result<Response> {
    let creator = sender(&call.caller);
    let request = room_request(&app, call.request).await?;
    for (invited, _) in &request.invite {
        invites::check(&app, &creator.user_id, invited).await?;
    }
    let profile = app.profile(&creator.user_id).await?;
    let room_id = app.rooms.create(&creator, profile, request).await?;
    inherit_settings(&app, &room_id, &creator.user_id).await?;
    Ok(Response::new(room_id))
}

async fn room_request(app: &App, request: Request) -> Result<CreateRoom> {
    if !request.invite_3pid.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidParam,
            "Only Matrix users can be invited here",
        ));
    }
    let in_directory = request.visibility == Visibility::Public;
    Ok(CreateRoom {
        preset: preset(request.preset, in_directory)?,
        in_directory,
        alias: request
            .room_alias_name
            .map(|name| alias(app, &name))
            .transpose()?,
        version: request.room_version,
        name: request.name,
        topic: request.topic,
        creation_content: request
            .creation_content
            .map(|raw| read(&raw))
            .transpose()?
            .unwrap_or_default(),
        power_level_content_override: request
            .power_level_content_override
            .map(|raw| read(&raw))
            .transpose()?
            .unwrap_or_default(),
        initial_state: request
            .initial_state
            .iter()
            .map(initial_state_event)
            .collect::<Result<_>>()?,
        invite: profiles(app, request.invite).await?,
        is_direct: request.is_direct,
    })
}

/// Spec: client-server, "createRoom": without a preset the visibility decides.
fn preset(preset: Option<RoomPreset>, in_directory: bool) -> Result<Preset> {
    match preset {
        Some(RoomPreset::TrustedPrivateChat) => Ok(Preset::TrustedPrivateChat),
        Some(RoomPreset::PublicChat) => Ok(Preset::PublicChat),
        None if in_directory => Ok(Preset::PublicChat),
        None | Some(RoomPreset::PrivateChat) => Ok(Preset::PrivateChat),
        Some(other) => Err(Error::new(
            ErrorKind::InvalidParam,
            format!("{} is not a preset", other.as_str()),
        )),
    }
}

fn alias(app: &App, localpart: &str) -> Result<OwnedRoomAliasId> {
    // A colon would move the alias to another server.
    if localpart.is_empty() || localpart.contains([':', '\0']) {
        return Err(Error::new(
            ErrorKind::InvalidParam,
            "This is not the local part of an alias",
        ));
    }
    OwnedRoomAliasId::try_from(format!("#{localpart}:{}", app.server_name))
        .map_err(|error| Error::new(ErrorKind::InvalidParam, error.to_string()))
}

/// The profiles of the invited users, each once.
async fn profiles(app: &App, invited: Vec<OwnedUserId>) -> Result<Vec<(OwnedUserId, Profile)>> {
    let mut profiles = BTreeMap::new();
    for user_id in invited {
        let profile = app.profile(&user_id).await?;
        profiles.insert(user_id, profile);
    }
    Ok(profiles.into_iter().collect())
}

#[derive(Deserialize)]
struct InitialState {
    #[serde(rename = "type")]
    event_type: StateEventType,
    #[serde(default)]
    state_key: String,
    content: Box<RawValue>,
}

fn initial_state_event(
    event: &Raw<AnyInitialStateEvent>,
) -> Result<(StateEventType, String, Box<RawValue>)> {
    let event: InitialState = read(event)?;
    Ok((event.event_type, event.state_key, event.content))
}

fn read<T: DeserializeOwned, R>(raw: &Raw<R>) -> Result<T> {
    raw.deserialize_as_unchecked()
        .map_err(|error| Error::new(ErrorKind::BadJson, error.to_string()))
}
