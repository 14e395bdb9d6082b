//! EDUs: typing notifications, presence, receipts, to-device messages and changed keys of users of other servers.
//!
//! Spec: server-server, "EDUs", "Typing Notifications", "Presence", "Receipts", "Send-to-device messaging", "Device
//! Management", "End-to-End Encryption". What is malformed, of a user of another server than the one that sends it, or about a room or event
//! that is not known, is passed over, as is what the federation policy does not exchange with the server.

use std::time::Duration;

use e2ee::{DeviceListUpdate, SigningKeyUpdate};
use federation::Exchange;
use live::{MAX_STATUS_MSG, RemotePresence};
use ruma::{
    DeviceId, RoomId, ServerName, UserId,
    api::federation::transactions::edu::{
        DeviceListUpdateContent, DirectDeviceContent, Edu, PresenceContent, ReceiptContent,
        ReceiptMap, SigningKeyUpdateContent, TypingContent,
    },
    events::receipt::{Receipt, ReceiptThread},
    serde::Raw,
};
use types::{ErrorKind, Fault};

use crate::{App, Result, client};

/// How long a user of another server counts as typing without a further notification.
const TYPING: Duration = Duration::from_mins(1);
/// The most users whose presence one EDU tells.
const MAX_PRESENCE: usize = 100;
/// The most receipts of one EDU.
const MAX_RECEIPTS: usize = 1000;

/// Takes in an EDU. Fails only when it should be sent again.
pub(super) async fn receive(app: &App, origin: &ServerName, edu: Raw<Edu>) -> Result<()> {
    let exchanges = |exchange| app.federation.policy().exchanges(exchange, origin);
    match edu.deserialize() {
        Ok(Edu::Typing(_)) if !exchanges(Exchange::Typing) => Ok(()),
        Ok(Edu::Presence(_)) if !exchanges(Exchange::Presence) => Ok(()),
        Ok(Edu::Receipt(_)) if !exchanges(Exchange::Receipts) => Ok(()),
        Ok(Edu::Typing(content)) => typing(app, origin, &content).await,
        Ok(Edu::Presence(content)) => presence(app, origin, content).await,
        Ok(Edu::Receipt(content)) => receipts(app, origin, content).await,
        Ok(Edu::DirectToDevice(content)) => to_device(app, origin, content).await,
        Ok(Edu::DeviceListUpdate(content)) => device_list_update(app, origin, content).await,
        Ok(Edu::SigningKeyUpdate(content)) => signing_key_update(app, origin, content).await,
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(server.name = %origin, %error, "A malformed EDU is passed over");
            Ok(())
        }
    }
}

async fn typing(app: &App, origin: &ServerName, content: &TypingContent) -> Result<()> {
    if content.user_id.server_name() != origin
        || !app.rooms.allows_server(&content.room_id, origin).await?
    {
        return Ok(());
    }
    let time = content.typing.then_some(TYPING);
    app.live
        .set_typing(&content.user_id, &content.room_id, time)
        .await?;
    Ok(())
}

async fn presence(app: &App, origin: &ServerName, content: PresenceContent) -> Result<()> {
    let of_origin = content.push.into_iter().take(MAX_PRESENCE);
    let of_origin = of_origin.filter(|update| update.user_id.server_name() == origin);
    let said = of_origin.filter_map(|update| {
        let presence = RemotePresence {
            state: client::presence::state(&update.presence).ok()?,
            last_active_ago: Duration::from_millis(update.last_active_ago.into()),
            currently_active: update.currently_active,
            status_msg: update.status_msg.and_then(status_msg),
        };
        Some((update.user_id, presence))
    });
    Ok(app.live.receive_presence(said.collect()).await?)
}

/// A status message, shortened to what users of this server may set.
fn status_msg(mut text: String) -> Option<String> {
    text.truncate(text.floor_char_boundary(MAX_STATUS_MSG));
    (!text.is_empty()).then_some(text)
}

async fn receipts(app: &App, origin: &ServerName, content: ReceiptContent) -> Result<()> {
    let mut left = MAX_RECEIPTS;
    for (room_id, ReceiptMap { read, .. }) in content.receipts {
        if !app.rooms.allows_server(&room_id, origin).await? {
            continue;
        }
        for (user_id, receipt) in read {
            if user_id.server_name() != origin || left == 0 {
                continue;
            }
            left -= 1;
            set_receipt(app, &room_id, &user_id, &receipt.event_ids, &receipt.data).await?;
        }
    }
    Ok(())
}

async fn set_receipt(
    app: &App,
    room_id: &RoomId,
    user_id: &UserId,
    event_ids: &[ruma::OwnedEventId],
    data: &Receipt,
) -> Result<()> {
    let thread_id = match &data.thread {
        ReceiptThread::Unthreaded => None,
        thread => thread.as_str().map(str::to_owned),
    };
    let ts = data.ts.unwrap_or_else(|| app.clock.now());
    for event_id in event_ids {
        let of_thread = (thread_id.clone(), i64::from(ts.0));
        let received = app
            .rooms
            .receive_receipt(room_id, user_id, event_id, of_thread);
        passed_over(received.await)?;
    }
    Ok(())
}

async fn to_device(app: &App, origin: &ServerName, content: DirectDeviceContent) -> Result<()> {
    if content.sender.server_name() != origin {
        return Ok(());
    }
    // The sending device is not known: the message id is unique for its server.
    let sender = (&*content.sender, <&DeviceId>::from(""));
    let event_type = content.ev_type.to_string();
    let sent = app
        .keys
        .send_to_device(sender, &content.message_id, &event_type, content.messages);
    passed_over(sent.await)
}

async fn device_list_update(
    app: &App,
    origin: &ServerName,
    content: DeviceListUpdateContent,
) -> Result<()> {
    if content.user_id.server_name() != origin {
        return Ok(());
    }
    let update = DeviceListUpdate {
        user_id: content.user_id,
        device_id: content.device_id,
        display_name: content.device_display_name,
        stream_id: content.stream_id.into(),
        prev_ids: content.prev_id.into_iter().map(u64::from).collect(),
        is_deleted: content.deleted.unwrap_or_default(),
        keys: content.keys,
    };
    passed_over(app.keys.receive_device_list_update(update).await)
}

async fn signing_key_update(
    app: &App,
    origin: &ServerName,
    content: SigningKeyUpdateContent,
) -> Result<()> {
    if content.user_id.server_name() != origin {
        return Ok(());
    }
    let update = SigningKeyUpdate {
        user_id: content.user_id,
        master_key: content.master_key,
        self_signing_key: content.self_signing_key,
    };
    passed_over(app.keys.receive_signing_key_update(update).await)
}

/// Errors that do not go away are no reason to send the transaction again.
fn passed_over<E: Fault + 'static>(result: Result<(), E>) -> Result<()>
where
    crate::Error: From<E>,
{
    match result {
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "An EDU is passed over");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
