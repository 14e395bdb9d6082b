//! Sending to-device messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{
    DeviceId, OwnedDeviceId, OwnedServerName, OwnedUserId, TransactionId, UserId,
    events::AnyToDeviceEventContent, serde::Raw, to_device::DeviceIdOrAllDevices,
};
use storage::{
    UserChange,
    stream::{OutgoingToDevice, ToDevice, ToDeviceTransaction},
    to_device,
};

use crate::{
    Error, Keys,
    ask::by_server,
    identifiers::{check_identifier, is_valid_identifier},
};

/// The largest content of one message; as for events.
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// The most that one request may queue, all copies counted.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// What goes to another server as one message, unless a single one is larger.
const MAX_PIECE_BYTES: usize = 256 * 1024;

/// Contents by user and device.
pub type Messages =
    BTreeMap<OwnedUserId, BTreeMap<DeviceIdOrAllDevices, Raw<AnyToDeviceEventContent>>>;

/// What is sent to one device.
type Addressed = (OwnedUserId, OwnedDeviceId, Arc<str>);

impl Keys {
    /// Queues messages for devices, once per transaction id of the sending device. Unknown devices
    /// are ignored, and servers that this one does not talk to.
    #[tracing::instrument(name = "e2ee.send_to_device", skip_all, fields(user.id = %sender), err(level = "debug"))]
    pub async fn send_to_device(
        &self,
        (sender, device_id): (&UserId, &DeviceId),
        transaction_id: &TransactionId,
        event_type: &str,
        messages: Messages,
    ) -> Result<(), Error> {
        check_identifier("transaction id", transaction_id.as_str())?;
        check_identifier("type of the message", event_type)?;
        for content in messages.values().flat_map(BTreeMap::values) {
            check_content(content.json().get())?;
        }
        let (local, remote): (Messages, Messages) = messages
            .into_iter()
            .partition(|(user_id, _)| self.is_local(user_id));
        let messages = self.addressed(local).await?;
        // Nothing is passed on from one server to another.
        let outgoing = if self.is_local(sender) {
            self.outgoing(remote)?
        } else {
            Vec::new()
        };
        let bytes = messages.iter().map(|(.., content)| content.len());
        let outgoing_bytes = outgoing.iter().map(|(_, messages)| messages.len());
        if bytes.chain(outgoing_bytes).sum::<usize>() > MAX_REQUEST_BYTES {
            return Err(Error::MessageTooLarge);
        }
        if messages.is_empty() && outgoing.is_empty() {
            return Ok(());
        }
        let transaction = Arc::new(ToDeviceTransaction {
            device_id: device_id.to_owned(),
            transaction_id: transaction_id.to_owned(),
            sent_ts: self.clock.now_ms() as i64,
        });
        let changes = messages.into_iter().map(|(user_id, device_id, content)| {
            UserChange::ToDevice(ToDevice {
                user_id,
                device_id,
                sender: sender.to_owned(),
                event_type: event_type.to_owned(),
                content,
                transaction: Some(Arc::clone(&transaction)),
            })
        });
        let outgoing = outgoing.into_iter().map(|(server_name, messages)| {
            UserChange::OutgoingToDevice(OutgoingToDevice {
                server_name,
                sender: sender.to_owned(),
                event_type: event_type.to_owned(),
                messages,
                transaction: Some(Arc::clone(&transaction)),
            })
        });
        let changes = changes.chain(outgoing).collect();
        self.committer.commit_changes(changes).await?;
        Ok(())
    }

    /// The messages to users of other servers that this one talks to, in pieces of bounded size.
    fn outgoing(&self, messages: Messages) -> Result<Vec<(OwnedServerName, Arc<str>)>, Error> {
        let mut outgoing = Vec::new();
        for (server_name, messages) in by_server(messages) {
            if !self.federation.policy().allows(&server_name) {
                continue;
            }
            for piece in pieces(messages) {
                let json = serde_json::to_string(&piece);
                let json = json.map_err(|error| Error::Malformed(error.to_string()))?;
                outgoing.push((server_name.clone(), json.into()));
            }
        }
        Ok(outgoing)
    }

    /// The messages to users of this server, by device. Whether a device that is named exists is
    /// found when its message is stored.
    async fn addressed(&self, messages: Messages) -> Result<Vec<Addressed>, Error> {
        let to_all: Vec<OwnedUserId> = messages
            .iter()
            .filter(|(_, devices)| devices.contains_key(&DeviceIdOrAllDevices::AllDevices))
            .map(|(user_id, _)| user_id.clone())
            .collect();
        let mut devices_of: BTreeMap<OwnedUserId, BTreeSet<OwnedDeviceId>> = BTreeMap::new();
        if !to_all.is_empty() {
            let mut db = self.database.acquire().await?;
            for (user_id, device_id) in to_device::recipients(&mut db, &to_all).await? {
                devices_of.entry(user_id).or_default().insert(device_id);
            }
        }
        let mut addressed = Vec::new();
        for (user_id, contents) in messages {
            let mut others = devices_of.remove(&user_id).unwrap_or_default();
            let mut to_others = None;
            for (device, content) in contents {
                let content: Arc<str> = content.json().get().into();
                match device {
                    DeviceIdOrAllDevices::AllDevices => to_others = Some(content),
                    DeviceIdOrAllDevices::DeviceId(device_id) => {
                        others.remove(&device_id);
                        // What cannot be stored is no device.
                        if is_valid_identifier(device_id.as_str()) {
                            addressed.push((user_id.clone(), device_id, content));
                        }
                    }
                }
            }
            if let Some(content) = to_others {
                let to = |device_id| (user_id.clone(), device_id, Arc::clone(&content));
                addressed.extend(others.into_iter().map(to));
            }
        }
        Ok(addressed)
    }
}

/// Messages to users of one server, divided so that no piece is larger than [`MAX_PIECE_BYTES`]
/// unless a single message is.
fn pieces(messages: Messages) -> Vec<Messages> {
    let mut pieces: Vec<Messages> = Vec::new();
    let mut bytes = 0;
    for (user_id, contents) in messages {
        // A message to all devices of a user leaves out those that are named: they stay together.
        let together = contents.contains_key(&DeviceIdOrAllDevices::AllDevices);
        let split = if together {
            vec![contents]
        } else {
            let contents = contents.into_iter();
            contents.map(|one| BTreeMap::from([one])).collect()
        };
        for contents in split {
            let size = contents.values().map(|content| content.json().get().len());
            let size = size.sum::<usize>();
            if pieces.is_empty() || bytes + size > MAX_PIECE_BYTES {
                pieces.push(Messages::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(piece) = pieces.last_mut() {
                piece.entry(user_id.clone()).or_default().extend(contents);
            }
        }
    }
    pieces
}

fn check_content(content: &str) -> Result<(), Error> {
    if content.len() > MAX_MESSAGE_BYTES {
        return Err(Error::MessageTooLarge);
    }
    if !content.starts_with('{') {
        return Err(Error::MalformedMessage);
    }
    Ok(())
}
