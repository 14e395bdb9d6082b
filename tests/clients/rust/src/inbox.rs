//! What a person's client has seen in its sync, kept in order so that no step misses what came early.

use anyhow::{Context, Result, bail};
use matrix_sdk::{
    Client, Room,
    deserialized_responses::EncryptionInfo,
    ruma::{
        OwnedEventId, OwnedRoomId, OwnedUserId,
        events::{
            reaction::OriginalSyncReactionEvent,
            room::{
                member::{MembershipState, OriginalSyncRoomMemberEvent, StrippedRoomMemberEvent},
                message::{OriginalSyncRoomMessageEvent, RoomMessageEventContent},
                redaction::OriginalSyncRoomRedactionEvent,
            },
        },
    },
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Something that the sync brought.
#[derive(Debug)]
pub enum Seen {
    /// The client's user was invited.
    Invited { room_id: OwnedRoomId },
    /// A user has joined.
    Joined { user_id: OwnedUserId },
    /// A message, decrypted if it was encrypted.
    Message {
        event_id: OwnedEventId,
        sender: OwnedUserId,
        content: Box<RoomMessageEventContent>,
        encrypted: bool,
    },
    /// A reaction to a message.
    Reaction { to: OwnedEventId, key: String },
    /// A redaction of an event.
    Redaction { redacts: Option<OwnedEventId> },
    /// The sync has ended and nothing more will come.
    SyncEnded { reason: String },
}

/// The things seen that no step has asked for yet.
pub struct Inbox {
    arriving: UnboundedReceiver<Seen>,
    waiting: Vec<Seen>,
}

impl Inbox {
    /// Listens to a client that has not synced yet; also returns the way in for what is not an event.
    pub fn of(client: &Client) -> (Self, UnboundedSender<Seen>) {
        let (sender, arriving) = unbounded_channel();
        // A closed channel means that nobody waits any more.
        let deliver = {
            let sender = sender.clone();
            move |seen| drop(sender.send(seen))
        };
        client.add_event_handler({
            let deliver = deliver.clone();
            async move |event: StrippedRoomMemberEvent, room: Room, client: Client| {
                if client.user_id() == Some(&event.state_key)
                    && event.content.membership == MembershipState::Invite
                {
                    deliver(Seen::Invited {
                        room_id: room.room_id().to_owned(),
                    });
                }
            }
        });
        client.add_event_handler({
            let deliver = deliver.clone();
            async move |event: OriginalSyncRoomMemberEvent| {
                if event.content.membership == MembershipState::Join {
                    deliver(Seen::Joined {
                        user_id: event.state_key,
                    });
                }
            }
        });
        client.add_event_handler({
            let deliver = deliver.clone();
            async move |event: OriginalSyncRoomMessageEvent, encryption: Option<EncryptionInfo>| {
                deliver(Seen::Message {
                    event_id: event.event_id,
                    sender: event.sender,
                    content: Box::new(event.content),
                    encrypted: encryption.is_some(),
                });
            }
        });
        client.add_event_handler({
            let deliver = deliver.clone();
            async move |event: OriginalSyncReactionEvent| {
                let annotation = event.content.relates_to;
                deliver(Seen::Reaction {
                    to: annotation.event_id,
                    key: annotation.key,
                });
            }
        });
        client.add_event_handler(async move |event: OriginalSyncRoomRedactionEvent| {
            deliver(Seen::Redaction {
                redacts: event.content.redacts.or(event.redacts),
            });
        });
        (
            Self {
                arriving,
                waiting: Vec::new(),
            },
            sender,
        )
    }

    /// Takes out the first thing that `pick` makes something of, waiting for it if it has not come yet.
    pub async fn find<T>(&mut self, pick: impl Fn(&Seen) -> Option<T>) -> Result<T> {
        for (index, seen) in self.waiting.iter().enumerate() {
            if let Some(found) = pick(seen) {
                self.waiting.remove(index);
                return Ok(found);
            }
        }
        loop {
            let seen = self.arriving.recv().await.context("the client is gone")?;
            if let Some(found) = pick(&seen) {
                return Ok(found);
            }
            if let Seen::SyncEnded { reason } = seen {
                bail!("the sync ended: {reason}");
            }
            self.waiting.push(seen);
        }
    }
}
