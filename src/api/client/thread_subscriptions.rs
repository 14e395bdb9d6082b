//! Subscriptions to threads (MSC4306), and all of them in pages (MSC4308).

use std::collections::BTreeMap;

use room::SubscriptionsQuery;
use ruma::{OwnedEventId, OwnedRoomId, api::auth_scheme::AccessToken};
use serde::{Deserialize, Serialize};
use serde_json::json;
use types::ErrorKind;

use super::reader;
use crate::{
    App, Error, Matrix, Result,
    endpoint::{arguments, endpoint, query},
    json::RawJson,
};

/// Reads a subscription.
pub(crate) struct Get(Thread);
/// Subscribes.
pub(crate) struct Subscribe(Thread, SubscribeBody);
/// Unsubscribes.
pub(crate) struct Unsubscribe(Thread);

struct Thread {
    room_id: OwnedRoomId,
    root: OwnedEventId,
}

#[derive(Deserialize)]
struct SubscribeBody {
    /// The event for which a client subscribes by itself.
    automatic: Option<OwnedEventId>,
}

/// Lists the changes of subscriptions.
#[derive(Deserialize)]
pub(crate) struct List {
    dir: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
}

endpoint!(
    Get,
    GET "unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription",
    AccessToken,
    |path_args, _| {
        let (room_id, root) = arguments(path_args)?;
        Ok(Get(Thread { room_id, root }))
    }
);
endpoint!(
    Subscribe,
    PUT "unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription",
    AccessToken,
    |path_args, request| {
        let (room_id, root) = arguments(path_args)?;
        let body = serde_json::from_slice(request.body())?;
        Ok(Subscribe(Thread { room_id, root }, body))
    }
);
endpoint!(
    Unsubscribe,
    DELETE "unstable/io.element.msc4306/rooms/{room_id}/thread/{event_id}/subscription",
    AccessToken,
    |path_args, _| {
        let (room_id, root) = arguments(path_args)?;
        Ok(Unsubscribe(Thread { room_id, root }))
    }
);
endpoint!(
    List,
    GET "unstable/io.element.msc4308/thread_subscriptions",
    AccessToken,
    |_, request| query(request)
);

/// Tells whether the caller is subscribed to a thread.
pub(crate) async fn get(app: App, call: Matrix<Get>) -> Result<RawJson> {
    let (reader, Get(Thread { room_id, root })) = (reader(&call.caller), &call.request);
    let is_automatic = app.rooms.thread_subscription(room_id, reader, root).await?;
    Ok(json!({ "automatic": is_automatic }).to_string().into())
}

/// Subscribes the caller to a thread.
pub(crate) async fn subscribe(app: App, call: Matrix<Subscribe>) -> Result<RawJson> {
    let Subscribe(Thread { room_id, root }, body) = &call.request;
    let (reader, cause) = (reader(&call.caller), body.automatic.as_deref());
    app.rooms
        .subscribe_to_thread(room_id, reader, root, cause)
        .await?;
    Ok("{}".to_owned().into())
}

/// Ends the caller's subscription to a thread.
pub(crate) async fn unsubscribe(app: App, call: Matrix<Unsubscribe>) -> Result<RawJson> {
    let (reader, Unsubscribe(Thread { room_id, root })) = (reader(&call.caller), &call.request);
    app.rooms
        .unsubscribe_from_thread(room_id, reader, root)
        .await?;
    Ok("{}".to_owned().into())
}

#[derive(Serialize)]
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    automatic: Option<bool>,
    bump_stamp: i64,
}

type Changes = BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, Change>>;

#[derive(Default, Serialize)]
struct Page {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    subscribed: Changes,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unsubscribed: Changes,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

/// Lists the changes of the caller's subscriptions, the last ones first.
pub(crate) async fn list(app: App, call: Matrix<List>) -> Result<RawJson> {
    let List {
        dir,
        from,
        to,
        limit,
    } = call.request;
    if dir.is_some_and(|dir| dir != "b") {
        return Err(invalid("`dir` must be `b`"));
    }
    let query = SubscriptionsQuery {
        before: from.map(|token| number(&token)).transpose()?,
        after: to.map(|token| number(&token)).transpose()?,
        limit,
    };
    let found = app
        .rooms
        .thread_subscriptions(call.caller.user_id(), query)
        .await?;
    let mut page = Page {
        end: found.end.map(|end| end.to_string()),
        ..Page::default()
    };
    for change in found.changes {
        let (threads, automatic) = if change.is_subscribed {
            (&mut page.subscribed, Some(change.is_automatic))
        } else {
            (&mut page.unsubscribed, None)
        };
        let shown = Change {
            automatic,
            bump_stamp: change.bump_stamp,
        };
        let threads = threads.entry(change.room_id).or_default();
        threads.insert(change.root, shown);
    }
    RawJson::of(&page).map_err(Error::serialization)
}

fn number(token: &str) -> Result<i64> {
    let number = token.parse();
    number.map_err(|_| invalid("This is no token of a page of subscriptions"))
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidParam, text)
}
