//! What is returned with events of the events that relate to them.

use live::{Aggregations, ChildFilter, IGNORED_USERS, ignored_users};
use ruma::{OwnedUserId, UserId};
use storage::{StoredEvent, account_data};
use types::{EventNid, HistoryOrder, RoomNid};

use super::HistoryView;
use crate::{Error, Reader, Rooms};

impl Rooms {
    /// The aggregations of events of a room, as far as the reader sees what relates to them: no query
    /// unless something does.
    pub(super) async fn aggregations<'e>(
        &self,
        reader: Reader<'_>,
        view: &mut HistoryView,
        events: impl IntoIterator<Item = &'e StoredEvent>,
    ) -> Result<Aggregations, Error> {
        let related = events.into_iter().filter(|event| event.has_relations);
        let related: Vec<&StoredEvent> = related.collect();
        if related.is_empty() {
            return Ok(Aggregations::default());
        }
        let mut db = self.0.database.acquire().await?;
        let ignored = ignored_by(&mut db, reader.user_id).await?;
        let visibility = &view.visibility;
        let filter = ChildFilter {
            user_id: reader.user_id,
            ignores: &|sender: &UserId| ignored.iter().any(|ignored| ignored == sender),
            sees: &|_: RoomNid, event: EventNid, order: HistoryOrder| {
                visibility.is_visible_at(event, Some(order))
            },
        };
        let mut found = Aggregations::load(&mut db, related, filter).await?;
        view.look_up(&mut db, &found.children()).await?;
        found.retain(|child| view.visibility.may_see(child));
        Ok(found)
    }
}

/// The users whom a user ignores.
pub(crate) async fn ignored_by(
    db: &mut storage::Connection,
    user_id: &UserId,
) -> Result<Vec<OwnedUserId>, storage::Error> {
    let content = account_data::find(db, user_id, None, IGNORED_USERS).await?;
    Ok(content.map_or_else(Vec::new, |content| ignored_users(&content)))
}
