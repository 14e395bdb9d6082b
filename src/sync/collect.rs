//! Collects the updates for a device: from the cache, and what is not cached by a number of queries
//! that does not depend on the number of rooms.

mod aggregations;
mod room;
mod rooms;
mod state;
mod stripped;
mod summary;
mod timeline;
mod visibility;

use std::{borrow::Cow, sync::Arc};

use event::EventFilter;
use live::PresenceUpdate;
use ruma::UserId;
use storage::{
    device_lists::{self, DeviceListChanges},
    one_time_keys::KeyCounts,
    stream::ToDevice,
    to_device,
};
use types::{StreamPosition, SyncToken};

use crate::{
    Error,
    context::SyncContext,
    query::{SyncQuery, ToDeviceQuery},
    updates::SyncUpdates,
};

/// The most to-device messages in a response.
pub(crate) const MAX_TO_DEVICE: usize = 100;

const PUSH_RULES: &str = "m.push_rules";

/// Collects what is new for a device, as far as the query asks for it.
pub(crate) async fn updates<'a>(
    context: &SyncContext<'a>,
    query: SyncQuery<'a>,
) -> Result<SyncUpdates<'a>, Error> {
    let (to_device, last_to_device) = match query.to_device {
        Some(query) => to_device_messages(context, query).await?,
        None => (Vec::new(), None),
    };
    let (device_lists, key_counts) = if query.encryption {
        let device_lists = device_list_changes(context).await?;
        (device_lists, Some(key_counts(context).await?))
    } else {
        (DeviceListChanges::default(), None)
    };
    let key_counts_changed = key_counts.as_ref().is_some_and(|(_, changed)| *changed);
    let rooms = rooms::updates(context, query).await?;
    Ok(SyncUpdates {
        next: SyncToken {
            stream: context.view.position,
            ephemeral: context.view.ephemeral,
            to_device: last_to_device,
        },
        account_data: query
            .account_data
            .map(|filter| account_data(context, filter))
            .unwrap_or_default(),
        to_device,
        presence: presence(context, query.presence),
        device_lists,
        key_counts: key_counts.map(|(counts, _)| counts),
        key_counts_changed,
        aggregations: aggregations::of_timelines(context, &rooms).await?,
        rooms,
    })
}

/// The presence of others that changed.
fn presence(context: &SyncContext<'_>, filter: Option<&EventFilter>) -> Vec<PresenceUpdate> {
    let Some(filter) = filter else {
        return Vec::new();
    };
    let updates = context
        .live
        .presence_updates(context.view, context.possibly_missed);
    let updates = updates.into_iter();
    updates
        .filter(|update| filter.allows_sender(&update.user_id))
        .collect()
}

/// Global account data.
fn account_data<'a>(
    context: &SyncContext<'a>,
    filter: &EventFilter,
) -> Vec<(&'a str, Cow<'a, str>)> {
    let after = context.since_stream().unwrap_or(StreamPosition::START);
    let data = context.view.user.account_data_after(None, after);
    let mut entries: Vec<(&str, Cow<'_, str>)> = data
        .filter(|(event_type, _)| filter.allows_type(event_type))
        .filter(|(_, entry)| context.since.is_some() || !entry.is_deleted())
        .map(|(event_type, entry)| (event_type, Cow::Borrowed(&*entry.content)))
        .collect();
    if context.since.is_none() && filter.allows_type(PUSH_RULES) {
        let mut all = context.view.user.account_data(None);
        if !all.any(|(event_type, _)| event_type == PUSH_RULES) {
            let rules = default_push_rules(context.user_id);
            entries.extend(rules.map(|rules| (PUSH_RULES, Cow::Owned(rules))));
        }
    }
    entries
}

/// The push rules of a user that has not changed them.
fn default_push_rules(user_id: &UserId) -> Option<String> {
    let rules = event::push::defaults(user_id);
    serde_json::to_string(&serde_json::json!({ "global": rules })).ok()
}

/// The pending to-device messages, and the position of the last one if more are pending.
///
/// Spec: client-server, "Send-to-Device messaging".
async fn to_device_messages(
    context: &SyncContext<'_>,
    query: ToDeviceQuery,
) -> Result<(Vec<ToDevice>, Option<StreamPosition>), Error> {
    let ToDeviceQuery { after, limit } = query;
    let (until, device_id) = (context.view.position, context.device_id);
    let subscription = context.subscription;
    if !subscription.has_to_device(device_id, after) {
        return Ok((Vec::new(), None));
    }
    let mut db = context.database.acquire().await?;
    let most = i64::try_from(limit).map_or(i64::MAX, |limit| limit.saturating_add(1));
    let mut messages =
        to_device::pending(&mut db, context.user_id, device_id, after, until, most).await?;
    let first = messages.first().map(|(position, _)| *position);
    let mut last = messages.last().map(|(position, _)| *position);
    if messages.len() > limit {
        messages.truncate(limit);
        // More are pending; the last of them is not known.
        subscription.record_to_device(device_id, first.map(|first| (first, until)), until);
        last = messages.last().map(|(position, _)| *position);
    } else {
        subscription.record_to_device(device_id, first.zip(last), until);
        last = None;
    }
    Ok((
        messages.into_iter().map(|(_, message)| message).collect(),
        last,
    ))
}

/// Device list changes; an initial sync has none.
///
/// Spec: client-server, "Extensions to /sync" of end-to-end encryption.
async fn device_list_changes(context: &SyncContext<'_>) -> Result<DeviceListChanges, Error> {
    let since = context.since_stream();
    let Some(since) = since.filter(|since| context.subscription.device_lists_changed_since(*since))
    else {
        return Ok(DeviceListChanges::default());
    };
    let mut db = context.database.acquire().await?;
    let until = context.view.position;
    Ok(device_lists::changed_between(&mut db, context.user_id, since, until).await?)
}

/// The key counts of the device, and whether they are known to have changed.
async fn key_counts(context: &SyncContext<'_>) -> Result<(Arc<KeyCounts>, bool), Error> {
    let (subscription, device_id) = (context.subscription, context.device_id);
    let counts = subscription.key_counts(device_id).await?;
    let since = context.since_stream().unwrap_or_default();
    Ok((
        counts,
        subscription.key_counts_changed_since(device_id, since),
    ))
}
