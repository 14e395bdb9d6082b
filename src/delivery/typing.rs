//! Typing notifications for the servers in a room. They are not durable: one that does not go out soon
//! is left out, as is one for a server that cannot be reached.
//!
//! Spec: server-server, "Typing Notifications".

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use event::acl::ServerAcl;
use federation::Exchange;
use ruma::OwnedUserId;
use storage::{
    Error,
    cluster::{Typing, TypingMessage},
    deliveries::{self, NewEdu},
};
use tokio::sync::{Mutex, mpsc::Receiver};
use tokio_util::sync::CancellationToken;
use types::RoomNid;

use crate::{Delivery, edus, notices};

/// How long a notification is worth sending.
const LIFETIME: Duration = Duration::from_secs(20);

/// Whether users type in rooms, the last that is known of each.
type TypingUsers = BTreeMap<(RoomNid, OwnedUserId), bool>;

impl Delivery {
    /// Sends what this process notices of its users' typing, until it is told to stop.
    pub async fn send_typing(
        &self,
        notices: &Mutex<Receiver<TypingMessage>>,
        stopping: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut notices = notices.lock().await;
        while let Some(batch) = notices::next(&mut notices, &stopping).await {
            let typing = self.typing_users(batch.into_iter());
            if let Err(error) = self.queue_typing(typing).await {
                tracing::warn!(%error, "Typing notifications could not be sent");
            }
        }
        Ok(())
    }

    /// What of it is about this server's users, if there is anybody to tell.
    fn typing_users(&self, notices: impl Iterator<Item = TypingMessage>) -> TypingUsers {
        let own_name = &self.0.settings.server_name;
        let is_closed = self.0.federation.policy().is_closed();
        let is_sent =
            |notice: &TypingMessage| !is_closed && notice.user_id.server_name() == own_name;
        notices.filter(is_sent).map(entry).collect()
    }

    /// Puts what is worth telling into the queues: one statement for rooms without other servers.
    async fn queue_typing(&self, typing: TypingUsers) -> Result<(), Error> {
        if typing.is_empty() {
            return Ok(());
        }
        let rooms: BTreeSet<RoomNid> = typing.keys().map(|(room_nid, _)| *room_nid).collect();
        let rooms: Vec<RoomNid> = rooms.into_iter().collect();
        let mut db = self.0.database.acquire().await?;
        let mut servers_in = deliveries::servers_in_rooms(&mut db, &rooms).await?;
        for servers in servers_in.values_mut() {
            servers.retain(|name| self.exchanges(Exchange::Typing, name));
        }
        servers_in.retain(|_, servers| !servers.is_empty());
        if servers_in.is_empty() {
            return Ok(());
        }
        let rooms: Vec<RoomNid> = servers_in.keys().copied().collect();
        let rooms = deliveries::rooms(&mut db, &rooms).await?;
        drop(db);
        let acls: BTreeMap<RoomNid, ServerAcl> = rooms
            .iter()
            .filter_map(|(room_nid, room)| {
                Some((*room_nid, ServerAcl::of_event(room.server_acl.as_ref()?)))
            })
            .collect();
        let mut new: Vec<NewEdu> = Vec::new();
        for ((room_nid, user_id), is_typing) in &typing {
            let (Some(room), Some(servers)) = (rooms.get(room_nid), servers_in.get(room_nid))
            else {
                continue;
            };
            let servers = servers.iter();
            let acl = acls.get(room_nid);
            let servers = servers.filter(|name| acl.is_none_or(|acl| acl.allows(name)));
            new.extend(servers.map(|name| edus::typing(name, &room.room_id, user_id, *is_typing)));
        }
        if new.is_empty() {
            return Ok(());
        }
        let mut tx = self.0.database.begin().await?;
        deliveries::queue_ephemeral_edus(&mut tx, new, LIFETIME).await?;
        tx.commit().await?;
        self.0.wake.notify_one();
        Ok(())
    }
}

fn entry(notice: TypingMessage) -> ((RoomNid, OwnedUserId), bool) {
    let is_typing = notice.typing == Typing::Started;
    ((notice.room_nid, notice.user_id), is_typing)
}
