//! Pushers: whom to tell of the caller's notifications.

use http::Method;
use push::{Pusher, PusherDraft};
use ruma::api::{
    IncomingRequest, Metadata,
    client::push::{
        get_pushers,
        set_pusher::v3::{Request as Typed, Response},
    },
    error::DeserializationError,
};
use serde_json::{Map, Value, json};

use crate::{App, Matrix, Result, json::RawJson};

/// `POST /pushers/set`, read leniently, so that the error names all fields that are missing.
pub(crate) struct Request(PusherDraft);

/// Lists the caller's pushers.
pub(crate) async fn list(app: App, call: Matrix<get_pushers::v3::Request>) -> Result<RawJson> {
    let pushers = app.push.pushers(call.caller.user_id()).await?;
    let pushers: Vec<Value> = pushers.iter().map(as_json).collect();
    Ok(json!({ "pushers": pushers }).to_string().into())
}

/// Adds, replaces or deletes a pusher of the caller's session.
pub(crate) async fn set(app: App, call: Matrix<Request>) -> Result<Response> {
    let session = call.caller.session()?;
    let Request(draft) = call.request;
    app.push
        .set_pusher(&session.user_id, session.session_nid, draft)
        .await?;
    Ok(Response::new())
}

fn as_json(pusher: &Pusher) -> Value {
    let settings = &pusher.settings;
    let data = serde_json::from_str::<Map<String, Value>>(&settings.data);
    let mut data = data.unwrap_or_default();
    data.insert("url".to_owned(), settings.url.as_str().into());
    let mut pusher = Map::from_iter([
        ("kind".to_owned(), "http".into()),
        ("data".to_owned(), Value::Object(data)),
    ]);
    let texts = [
        ("app_id", Some(&settings.app_id)),
        ("pushkey", Some(&settings.push_key)),
        ("app_display_name", Some(&settings.app_display_name)),
        ("device_display_name", Some(&settings.device_display_name)),
        ("profile_tag", settings.profile_tag.as_ref()),
        ("lang", Some(&settings.lang)),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            pusher.insert(name.to_owned(), text.as_str().into());
        }
    }
    Value::Object(pusher)
}

impl Metadata for Request {
    const METHOD: Method = Typed::METHOD;
    const RATE_LIMITED: bool = Typed::RATE_LIMITED;
    type Authentication = <Typed as Metadata>::Authentication;
    type PathBuilder = <Typed as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Typed::PATH_BUILDER;
}

impl IncomingRequest for Request {
    type EndpointError = <Typed as IncomingRequest>::EndpointError;
    type OutgoingResponse = Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        _: &[&str],
    ) -> Result<Self, DeserializationError> {
        Ok(Self(serde_json::from_slice(request.body())?))
    }
}
