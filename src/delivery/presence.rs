//! The presence of this server's users, for the servers that share a room with them. It is not durable:
//! what does not go out soon is left out, as is what is for a server that cannot be reached.
//!
//! Spec: server-server, "Presence".

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use federation::Exchange;
use live::{Live, LocalPresence, PresenceNotice};
use ruma::{OwnedServerName, OwnedUserId};
use storage::{
    Error,
    deliveries::{self, NewEdu},
};
use tokio::sync::{Mutex, mpsc::Receiver};
use tokio_util::sync::CancellationToken;

use crate::{Delivery, edus, notices};

/// How long presence is worth sending: a server that is slow for longer is told with the next change, or
/// when presence is repeated.
const LIFETIME: Duration = Duration::from_mins(2);
/// The most users of one EDU.
const MAX_USERS: usize = 50;

/// The users whose presence each server gets.
type Recipients = BTreeMap<OwnedServerName, BTreeMap<OwnedUserId, LocalPresence>>;

impl Delivery {
    /// Sends what this process notices of its users' presence, until it is told to stop.
    pub async fn send_presence(
        &self,
        live: &Live,
        notices: &Mutex<Receiver<PresenceNotice>>,
        stopping: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut notices = notices.lock().await;
        while let Some(batch) = notices::next(&mut notices, &stopping).await {
            if let Err(error) = self.queue_presence(live, batch).await {
                tracing::warn!(%error, "Presence could not be sent");
            }
        }
        Ok(())
    }

    async fn queue_presence(&self, live: &Live, notices: Vec<PresenceNotice>) -> Result<(), Error> {
        if self.0.federation.policy().is_closed() {
            return Ok(());
        }
        let recipients = self.recipients(live, notices).await?;
        if recipients.is_empty() {
            return Ok(());
        }
        let mut new: Vec<NewEdu> = Vec::new();
        for (server_name, users) in recipients {
            let users: Vec<LocalPresence> = users.into_values().collect();
            let edus = users.chunks(MAX_USERS);
            new.extend(edus.map(|users| edus::presence(&server_name, users)));
        }
        let mut tx = self.0.database.begin().await?;
        deliveries::queue_ephemeral_edus(&mut tx, new, LIFETIME).await?;
        tx.commit().await?;
        self.0.wake.notify_one();
        Ok(())
    }

    /// Which servers get the presence of which users.
    async fn recipients(
        &self,
        live: &Live,
        notices: Vec<PresenceNotice>,
    ) -> Result<Recipients, Error> {
        let mut recipients = Recipients::new();
        let mut changed = BTreeSet::new();
        for notice in notices {
            match notice {
                PresenceNotice::Changed(user_id) => {
                    changed.insert(user_id);
                }
                PresenceNotice::Joined(user_id, room_nid) => {
                    let servers = live.servers_in(&[room_nid]).await?;
                    self.add_recipients(&mut recipients, servers, &live.local_presence(&[user_id]));
                }
                PresenceNotice::ServersJoined(room_nid, servers) => {
                    let servers = servers
                        .into_iter()
                        .filter(|server| self.exchanges(Exchange::Presence, server));
                    let servers: BTreeSet<OwnedServerName> = servers.collect();
                    if !servers.is_empty() {
                        self.add_recipients(
                            &mut recipients,
                            servers,
                            &live.local_presence_in(room_nid),
                        );
                    }
                }
            }
        }
        let changed: Vec<OwnedUserId> = changed.into_iter().collect();
        for user in live.local_presence(&changed) {
            let servers = live.servers_in(&user.rooms).await?;
            self.add_recipients(&mut recipients, servers, &[user]);
        }
        Ok(recipients)
    }

    fn add_recipients(
        &self,
        recipients: &mut Recipients,
        servers: BTreeSet<OwnedServerName>,
        users: &[LocalPresence],
    ) {
        let servers = servers
            .into_iter()
            .filter(|server| self.exchanges(Exchange::Presence, server));
        for server_name in servers {
            let of_server = recipients.entry(server_name).or_default();
            of_server.extend(
                users
                    .iter()
                    .map(|user| (user.user_id.clone(), user.clone())),
            );
        }
    }
}
