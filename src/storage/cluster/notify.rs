//! The two tasks that exchange messages with the other processes, by `NOTIFY` and `LISTEN`.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool,
    postgres::{PgListener, PgNotification},
};
use tokio::sync::{mpsc, watch};
use types::StreamPosition;

use super::{Message, Outgoing, PeerEvent, liveness};
use crate::Database;

/// The channel of committed stream positions.
const STREAM: &str = "chancery_stream";
/// The channel of all other messages.
const MESSAGES: &str = "chancery_messages";
/// Messages that arrive within this time are sent in one statement.
const COALESCE_WITHIN: Duration = Duration::from_millis(10);
/// Pause before the listener reconnects.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// A message and its sender. PostgreSQL takes texts of less than 8,000 bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    from: i64,
    message: Message,
}

/// Receives the notifications of other processes, reconnecting as needed: forwards positions to
/// `peer_commits` and messages to the subscribers. Ends the leases of those that are gone.
pub(crate) async fn listen(database: Database, peer_commits: watch::Sender<StreamPosition>) {
    tokio::select! {
        () = receive(&database, &peer_commits) => {}
        () = liveness::end_leases_of_gone(&database) => {}
    }
}

async fn receive(database: &Database, peer_commits: &watch::Sender<StreamPosition>) {
    while !peer_commits.is_closed() {
        if let Err(error) = listen_once(database, peer_commits).await {
            tracing::warn!(%error, "Not listening to other processes for a while; the heartbeat does");
            tokio::time::sleep(RECONNECT_DELAY).await;
        }
    }
}

async fn listen_once(
    database: &Database,
    peer_commits: &watch::Sender<StreamPosition>,
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(database.pool()).await?;
    listener.listen_all([STREAM, MESSAGES]).await?;
    loop {
        liveness::register(&mut listener, database.process().number).await?;
        database.cluster().notify_subscribers(PeerEvent::Resync);
        while let Some(notification) = listener.try_recv().await? {
            if notification.channel() == MESSAGES {
                deliver(database, &notification);
            } else if let Ok(position) = notification.payload().parse() {
                let position = StreamPosition(position);
                peer_commits.send_if_modified(|last| {
                    let is_later = position > *last;
                    *last = position.max(*last);
                    is_later
                });
            }
            if peer_commits.is_closed() {
                return Ok(());
            }
        }
        // The connection was lost, and there is a new one.
    }
}

fn deliver(database: &Database, notification: &PgNotification) {
    match serde_json::from_str::<Envelope>(notification.payload()) {
        Ok(envelope) if envelope.from == database.process().number => {}
        Ok(envelope) => database
            .cluster()
            .notify_subscribers(PeerEvent::Message(Arc::new(envelope.message))),
        Err(error) => {
            tracing::debug!(%error, "Another version of the server sent something unknown");
        }
    }
}

/// Sends outgoing messages, coalesced into one statement outside any writing transaction: a pending
/// notification would take a database-wide lock at commit.
///
/// Ends when all senders are dropped.
pub(crate) async fn notify(
    pool: PgPool,
    process: i64,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
) {
    while let Some(first) = outgoing.recv().await {
        tokio::time::sleep(COALESCE_WITHIN).await;
        let mut committed = None;
        let (mut channels, mut payloads) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Outgoing::Committed(position) => committed = committed.max(Some(position)),
                Outgoing::Message(message) => {
                    channels.push(MESSAGES.to_owned());
                    payloads.push(encode(process, message));
                }
            }
            next = outgoing.try_recv().ok();
        }
        if let Some(position) = committed {
            channels.push(STREAM.to_owned());
            payloads.push(position.to_string());
        }
        let notified = sqlx::query!(
            "SELECT pg_notify(r.channel, r.payload) FROM UNNEST($1::text[], $2::text[]) AS r (channel, payload)",
            &channels,
            &payloads
        )
        .execute(&pool)
        .await;
        if let Err(error) = notified {
            tracing::warn!(%error, "Other processes were not notified; their heartbeat covers it");
        }
    }
}

fn encode(from: i64, message: Message) -> String {
    // Numbers and texts only: it cannot fail.
    serde_json::to_string(&Envelope { from, message }).unwrap_or_default()
}
