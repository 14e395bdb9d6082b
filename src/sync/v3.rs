//! `/v3/sync`: one answer.

use live::{Look, Reader, Watch};
use ruma::{OwnedDeviceId, OwnedUserId, api::client::filter::FilterDefinition};
use std::{sync::Arc, time::Duration};
use storage::Database;
use types::{StreamPosition, SyncToken};

use crate::{
    Error,
    answer::Answer,
    filter::Filter,
    streams::{
        Stream, account_data::AccountData, device_lists::DeviceLists, key_counts::KeyCounts,
        rooms::Rooms, to_device::ToDevice,
    },
    writer::Writer,
};

/// What a client asks.
#[derive(Clone, Debug)]
pub struct Request {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device that asks.
    pub device_id: OwnedDeviceId,
    /// Where the last answer ended; none for the first.
    pub since: Option<SyncToken>,
    /// What the client wants to hear of.
    pub filter: Arc<FilterDefinition>,
    /// Whether to tell the whole state of all rooms.
    pub full_state: bool,
    /// Whether to tell the state at the end of the timeline instead of its start.
    pub use_state_after: bool,
    /// How long to wait when there is nothing new.
    pub timeout: Duration,
}

/// All that the streams ask for an answer.
pub(crate) struct Ask<'a> {
    pub(crate) request: &'a Request,
    pub(crate) filter: &'a Filter,
    pub(crate) database: &'a Database,
    pub(crate) watch: &'a Watch,
    pub(crate) look: &'a Look,
    /// Where the last answer ended, as far as this process can tell.
    pub(crate) since: Option<SyncToken>,
    pub(crate) now_ms: u64,
}

impl<'a> Ask<'a> {
    /// Everything durable after this is new.
    pub(crate) fn since_stream(&self) -> Option<StreamPosition> {
        self.since.map(|since| since.stream)
    }

    pub(crate) fn writer(&self) -> Writer<'a> {
        let reader = Reader {
            user_id: &self.request.user_id,
            device_id: &self.request.device_id,
        };
        Writer {
            reader,
            filter: self.filter,
            now_ms: self.now_ms,
        }
    }
}

/// Lets each stream write its part.
pub(crate) async fn answer(ask: &Ask<'_>) -> Result<Answer, Error> {
    let next = SyncToken {
        stream: ask.look.position,
        ephemeral: ask.look.ephemeral,
        to_device: None,
    };
    let mut answer = Answer::new(next);
    AccountData.write(ask, &mut answer).await?;
    ToDevice.write(ask, &mut answer).await?;
    DeviceLists.write(ask, &mut answer).await?;
    KeyCounts.write(ask, &mut answer).await?;
    Rooms.write(ask, &mut answer).await?;
    Ok(answer)
}
