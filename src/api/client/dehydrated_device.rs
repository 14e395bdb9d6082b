//! Devices that users leave on the server, to receive room keys while they are logged in nowhere (MSC3814).

use std::collections::BTreeMap;

use e2ee::KeyUpload;
use ruma::{
    OwnedDeviceId, OwnedOneTimeKeyId, OwnedUserId,
    api::auth_scheme::AccessToken,
    encryption::{DeviceKeys, OneTimeKey},
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};
use types::{ErrorKind, StreamPosition};

use crate::{
    App, Error, Matrix, Result,
    endpoint::{arguments, endpoint},
    json::RawJson,
};

/// Leaves a device.
#[derive(Deserialize)]
pub(crate) struct Put {
    device_id: OwnedDeviceId,
    device_data: Box<RawValue>,
    initial_device_display_name: Option<String>,
    device_keys: Raw<DeviceKeys>,
    #[serde(default)]
    one_time_keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
    #[serde(default)]
    fallback_keys: BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>,
}

/// Reads the device.
pub(crate) struct Get;

/// Deletes the device.
pub(crate) struct Delete;

/// Reads what was sent to the device.
pub(crate) struct Events {
    device_id: OwnedDeviceId,
    body: EventsBody,
}

#[derive(Deserialize)]
struct EventsBody {
    next_batch: Option<String>,
}

endpoint!(
    Put,
    PUT "unstable/org.matrix.msc3814.v1/dehydrated_device",
    AccessToken,
    |_, request| Ok(serde_json::from_slice(request.body())?)
);
endpoint!(
    Get,
    GET "unstable/org.matrix.msc3814.v1/dehydrated_device",
    AccessToken,
    |_, _| Ok(Get)
);
endpoint!(
    Delete,
    DELETE "unstable/org.matrix.msc3814.v1/dehydrated_device",
    AccessToken,
    |_, _| Ok(Delete)
);
endpoint!(
    Events,
    POST "unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events",
    AccessToken,
    |path_args, request| {
        let (device_id,) = arguments(path_args)?;
        let body = serde_json::from_slice(request.body())?;
        Ok(Events { device_id, body })
    }
);

/// Leaves a device on the server, in the place of the one before.
pub(crate) async fn put(app: App, call: Matrix<Put>) -> Result<RawJson> {
    let (user_id, request) = (call.caller.user_id(), call.request);
    let data = request.device_data.get();
    if serde_json::from_str::<Map<String, Value>>(data).is_err() {
        return Err(Error::new(
            ErrorKind::BadJson,
            "`device_data` must be an object",
        ));
    }
    let device_id = &*request.device_id;
    let name = request.initial_device_display_name.as_deref();
    app.identity
        .replace_dehydrated_device(user_id, (device_id, data), name)
        .await?;
    let upload = KeyUpload {
        device_keys: Some(request.device_keys),
        one_time_keys: request.one_time_keys,
        fallback_keys: request.fallback_keys,
    };
    if let Err(error) = app.keys.upload(user_id, device_id, upload).await {
        // A device without keys is of no use.
        app.identity.delete_dehydrated_device(user_id).await?;
        return Err(error.into());
    }
    Ok(json!({ "device_id": device_id }).to_string().into())
}

/// Returns the device that the caller has left.
pub(crate) async fn get(app: App, call: Matrix<Get>) -> Result<RawJson> {
    #[derive(Serialize)]
    struct Body {
        device_id: OwnedDeviceId,
        device_data: Box<RawValue>,
    }
    let device = app
        .identity
        .dehydrated_device(call.caller.user_id())
        .await?;
    let body = Body {
        device_id: device.device_id,
        device_data: RawValue::from_string(device.data).map_err(Error::serialization)?,
    };
    RawJson::of(&body).map_err(Error::serialization)
}

/// Deletes the device that the caller has left.
pub(crate) async fn delete(app: App, call: Matrix<Delete>) -> Result<RawJson> {
    let user_id = call.caller.user_id();
    let device_id = app.identity.delete_dehydrated_device(user_id).await?;
    Ok(json!({ "device_id": device_id }).to_string().into())
}

/// Returns what was sent to the device that the caller has left, in pages.
pub(crate) async fn events(app: App, call: Matrix<Events>) -> Result<RawJson> {
    #[derive(Serialize)]
    struct Body {
        events: Vec<Shown>,
        next_batch: String,
    }
    #[derive(Serialize)]
    struct Shown {
        sender: OwnedUserId,
        #[serde(rename = "type")]
        event_type: String,
        content: Box<RawValue>,
    }
    let Events { device_id, body } = call.request;
    let user_id = call.caller.user_id();
    let after = match body.next_batch.as_deref() {
        None | Some("") => StreamPosition::START,
        Some(token) => StreamPosition(token.parse().map_err(|_| invalid_token())?),
    };
    if app.identity.dehydrated_device(user_id).await?.device_id != device_id {
        return Err(Error::new(
            ErrorKind::NotFound,
            "This is not the dehydrated device",
        ));
    }
    let found = app
        .keys
        .messages_of_device(user_id, &device_id, after)
        .await?;
    let last = found.last().map_or(after, |(position, _)| *position);
    let events = found.into_iter().map(|(_, message)| {
        let content = RawValue::from_string(message.content.to_string());
        Ok(Shown {
            sender: message.sender,
            event_type: message.event_type,
            content: content.map_err(Error::serialization)?,
        })
    });
    let body = Body {
        events: events.collect::<Result<_>>()?,
        next_batch: last.get().to_string(),
    };
    RawJson::of(&body).map_err(Error::serialization)
}

fn invalid_token() -> Error {
    Error::new(ErrorKind::InvalidParam, "`next_batch` is not a token")
}
