//! A room at a glance, for those who look into rooms without joining.
//!
//! Spec: client-server, "Room Previews".

use room::{HistoryFilter, PageRequest};
use ruma::{
    OwnedRoomId,
    api::{Direction, auth_scheme::AccessToken},
    events::room::member::MembershipState,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::reader;
use crate::{
    App, Error, Matrix, Result,
    endpoint::{arguments, endpoint, query},
    json::RawJson,
};

/// The path of older clients.
pub(crate) const OLD_PATH: &str = "/_matrix/client/r0/rooms/{room_id}/initialSync";

/// How many messages are returned unless the client says how many, and at the most.
const LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// The room that is asked for.
pub(crate) struct OfRoom {
    room_id: OwnedRoomId,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Query {
    limit: Option<usize>,
}

endpoint!(
    OfRoom,
    GET "v3/rooms/{room_id}/initialSync",
    AccessToken,
    |path_args, request| {
        let (room_id,) = arguments(path_args)?;
        let Query { limit } = query(request)?;
        Ok(OfRoom { room_id, limit })
    }
);

#[derive(Serialize)]
struct Body {
    room_id: OwnedRoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<MembershipState>,
    messages: Messages,
    state: Box<RawValue>,
    visibility: &'static str,
    account_data: Vec<AccountData>,
}

/// A page of messages. Of a backwards one, `start` is where it begins: at the last message.
#[derive(Deserialize, Serialize)]
struct Messages {
    chunk: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

#[derive(Serialize)]
struct AccountData {
    #[serde(rename = "type")]
    event_type: String,
    content: Box<RawValue>,
}

/// Returns the state of a room, its last messages, and what the caller has attached to it.
pub(crate) async fn of_room(app: App, call: Matrix<OfRoom>) -> Result<RawJson> {
    let OfRoom { room_id, limit } = call.request;
    let (user_id, reader) = (call.caller.user_id(), reader(&call.caller));
    let page = PageRequest {
        from: None,
        to: None,
        direction: Direction::Backward,
        limit: limit.unwrap_or(LIMIT).min(MAX_LIMIT),
        filter: HistoryFilter::default(),
    };
    let state = app.rooms.state(&room_id, reader).await?;
    let messages = app.rooms.messages(&room_id, reader, &page).await?;
    let is_listed = app.rooms.is_in_directory(&room_id).await?;
    let account_data = app.identity.room_account_data(user_id, &room_id).await?;
    let account_data: Result<_> = account_data
        .into_iter()
        .map(|(event_type, content)| {
            let content = raw(content)?;
            Ok(AccountData {
                event_type,
                content,
            })
        })
        .collect();
    let body = Body {
        membership: app.rooms.membership(&room_id, user_id).await?,
        messages: oldest_first(&messages)?,
        state: raw(state)?,
        visibility: if is_listed { "public" } else { "private" },
        account_data: account_data?,
        room_id,
    };
    RawJson::of(&body).map_err(Error::serialization)
}

fn oldest_first(page: &str) -> Result<Messages> {
    let mut page: Messages = serde_json::from_str(page).map_err(Error::serialization)?;
    page.chunk.reverse();
    std::mem::swap(&mut page.start, &mut page.end);
    Ok(page)
}

fn raw(json: String) -> Result<Box<RawValue>> {
    RawValue::from_string(json).map_err(Error::serialization)
}
