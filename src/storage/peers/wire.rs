//! The two tasks that carry what processes tell each other, by `NOTIFY` and `LISTEN`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool,
    postgres::{PgListener, PgNotification},
};
use tokio::sync::mpsc;
use types::StreamPosition;

use super::{Heard, Message, Said};
use crate::Database;

/// How far the stream is committed.
const STREAM: &str = "chancery_stream";
/// Everything else.
const MESSAGES: &str = "chancery_messages";
/// What is said within this time is told in one statement.
const COALESCE: Duration = Duration::from_millis(10);
/// How long nothing is heard after listening failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A message and who says it. PostgreSQL takes texts of less than 8,000 bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    from: i64,
    message: Message,
}

/// Passes on what other processes tell, reconnecting as needed: positions to `committed_there`,
/// messages to whoever hears them.
pub(crate) async fn listen(
    database: Database,
    committed_there: mpsc::UnboundedSender<StreamPosition>,
) {
    while !committed_there.is_closed() {
        if let Err(error) = listen_once(&database, &committed_there).await {
            tracing::warn!(%error, "Not listening to other processes for a while; the heartbeat does");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn listen_once(
    database: &Database,
    committed_there: &mpsc::UnboundedSender<StreamPosition>,
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(database.pool()).await?;
    listener.listen_all([STREAM, MESSAGES]).await?;
    loop {
        database.peers().spread(Heard::Listening);
        while let Some(notification) = listener.try_recv().await? {
            if notification.channel() == MESSAGES {
                hear(database, &notification);
            } else if let Ok(position) = notification.payload().parse()
                && committed_there.send(StreamPosition(position)).is_err()
            {
                return Ok(());
            }
        }
        // The connection was lost, and there is a new one.
    }
}

fn hear(database: &Database, notification: &PgNotification) {
    match serde_json::from_str::<Envelope>(notification.payload()) {
        Ok(envelope) if envelope.from == database.process().number => {}
        Ok(envelope) => database.peers().spread(Heard::Message(&envelope.message)),
        Err(error) => {
            tracing::debug!(%error, "Another version of the server said something unknown");
        }
    }
}

/// Tells what is said within a short while in one statement, outside any transaction that writes: a
/// pending notification would take a lock on the whole database at commit.
///
/// Ends when nobody is left who could say anything.
pub(crate) async fn tell(pool: PgPool, process: i64, mut to_tell: mpsc::UnboundedReceiver<Said>) {
    while let Some(first) = to_tell.recv().await {
        tokio::time::sleep(COALESCE).await;
        let mut committed = None;
        let (mut channels, mut payloads) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(said) = next {
            match said {
                Said::Committed(position) => committed = committed.max(Some(position)),
                Said::Message(message) => {
                    channels.push(MESSAGES.to_owned());
                    payloads.push(seal(process, message));
                }
            }
            next = to_tell.try_recv().ok();
        }
        if let Some(position) = committed {
            channels.push(STREAM.to_owned());
            payloads.push(position.to_string());
        }
        let told = sqlx::query!(
            "SELECT pg_notify(r.channel, r.payload) FROM UNNEST($1::text[], $2::text[]) AS r (channel, payload)",
            &channels,
            &payloads
        )
        .execute(&pool)
        .await;
        if let Err(error) = told {
            tracing::warn!(%error, "Other processes were not told; their heartbeat covers it");
        }
    }
}

fn seal(from: i64, message: Message) -> String {
    // Numbers and texts only: it cannot fail.
    serde_json::to_string(&Envelope { from, message }).unwrap_or_default()
}
