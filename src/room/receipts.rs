//! Read receipts and the fully-read marker.
//!
//! Spec: client-server, "Receipts" and "Fully read markers".

use std::collections::HashMap;

use ruma::{EventId, OwnedEventId, RoomId, UserId, events::room::member::MembershipState};
use serde_json::json;
use storage::{
    Connection, UserChange, UserChanges, receipts,
    stream::{AccountData, Receipt},
};
use types::{HistoryOrder, RoomNid};

use crate::{Error, Rooms, Sender, head::Head};

mod thread;

/// How far a user has read.
#[derive(Clone, Debug)]
pub struct ReadUpTo<'a> {
    /// The event.
    pub event_id: &'a EventId,
    /// Which receipt it is.
    pub kind: ReceiptKind,
}

/// The kinds of receipts and markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// `m.read`: visible to the room.
    Public {
        /// A thread root, `main`, or none.
        thread_id: Option<String>,
    },
    /// `m.read.private`: visible to the user's own devices.
    Private {
        /// A thread root, `main`, or none.
        thread_id: Option<String>,
    },
    /// `m.fully_read`: the fully-read marker.
    FullyRead,
}

impl ReceiptKind {
    fn thread_id(&self) -> Option<&str> {
        match self {
            Self::Public { thread_id } | Self::Private { thread_id } => thread_id.as_deref(),
            Self::FullyRead => None,
        }
    }

    /// The type and the thread of the receipt, the latter empty if it names none; `None` for the
    /// fully-read marker, which is no receipt.
    fn receipt(&self) -> Option<(&'static str, &str)> {
        let receipt_type = match self {
            Self::Public { .. } => "m.read",
            Self::Private { .. } => "m.read.private",
            Self::FullyRead => return None,
        };
        Some((receipt_type, self.thread_id().unwrap_or_default()))
    }
}

impl Rooms {
    /// Sets read receipts and the fully-read marker of a member, all or none: the events must be known in the room, and
    /// belong to the threads that are named with them.
    ///
    /// Receipts only move forward.
    #[tracing::instrument(name = "room.set_receipts", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn set_receipts(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        marks: &[ReadUpTo<'_>],
    ) -> Result<(), Error> {
        let head = self
            .head(room_id)
            .await
            .map_err(Error::hiding_unknown_room)?;
        head.require_member(&sender.user_id)?;
        let mut db = self.0.database.acquire().await?;
        let orders = check_marks(&mut db, head.room_nid, marks).await?;
        let first = orders.values().min().copied().unwrap_or(HistoryOrder::MIN);
        let current = receipts::at_or_after(&mut db, head.room_nid, &sender.user_id, first).await?;
        drop(db);
        let mut changes = UserChanges::new();
        for mark in marks {
            let event_order = *orders.get(mark.event_id).ok_or(Error::UnknownEvent)?;
            let Some((receipt_type, thread_id)) = mark.kind.receipt() else {
                changes.push(UserChange::AccountData(AccountData {
                    user_id: sender.user_id.clone(),
                    room_nid: Some(head.room_nid),
                    event_type: "m.fully_read".to_owned(),
                    content: json!({ "event_id": mark.event_id }).to_string(),
                }));
                continue;
            };
            // A device that lags behind takes nothing back.
            let is_old = current.iter().any(|(of_type, of_thread, order)| {
                of_type == receipt_type && of_thread == thread_id && *order >= event_order
            });
            if !is_old {
                changes.push(UserChange::Receipt(Receipt {
                    room_nid: head.room_nid,
                    user_id: sender.user_id.clone(),
                    receipt_type: receipt_type.to_owned(),
                    thread_id: thread_id.to_owned(),
                    event_id: mark.event_id.to_owned(),
                    event_order: Some(event_order),
                    ts: self.0.clock.now_ms() as i64,
                }));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.0.committer.commit_changes(changes).await?;
        Ok(())
    }
}

impl Rooms {
    /// Takes in a public receipt that another server tells of one of its users. An event that is not
    /// known may become known: the receipt is kept without a place in the history then, if there is none yet.
    pub async fn receive_receipt(
        &self,
        room_id: &RoomId,
        user_id: &UserId,
        event_id: &EventId,
        (thread_id, ts): (Option<String>, i64),
    ) -> Result<(), Error> {
        let head = self.head(room_id).await?;
        if !may_read(&head, user_id) {
            return Err(Error::NotInRoom);
        }
        let kind = ReceiptKind::Public { thread_id };
        let mark = ReadUpTo { event_id, kind };
        let mut db = self.0.database.acquire().await?;
        let orders = match check_marks(&mut db, head.room_nid, std::slice::from_ref(&mark)).await {
            Err(Error::UnknownEvent) if mark.kind.thread_id().is_none() => HashMap::new(),
            checked => checked?,
        };
        let event_order = orders.get(event_id).copied();
        let first = event_order.unwrap_or(HistoryOrder::MIN);
        let current = receipts::at_or_after(&mut db, head.room_nid, user_id, first).await?;
        drop(db);
        let thread_id = mark.kind.thread_id().unwrap_or_default();
        let mut current = current.iter();
        if current.any(|(of_type, of_thread, _)| of_type == "m.read" && of_thread == thread_id) {
            return Ok(());
        }
        let change = UserChange::Receipt(Receipt {
            room_nid: head.room_nid,
            user_id: user_id.to_owned(),
            receipt_type: "m.read".to_owned(),
            thread_id: thread_id.to_owned(),
            event_id: event_id.to_owned(),
            event_order,
            ts,
        });
        let changes = UserChanges::from_iter([change]);
        self.0.committer.commit_changes(changes).await?;
        Ok(())
    }
}

/// Whether a user of another server is in a room, or may be as far as is known.
fn may_read(head: &Head, user_id: &UserId) -> bool {
    let is_known = head.state.members().get(user_id.as_str()).is_some();
    let mut stated = head.state.stated_servers();
    head.state.membership(user_id) == MembershipState::Join
        || (!is_known && stated.any(|server| server == user_id.server_name()))
}

/// The places of the marked events in the room's history, if the room has them all and each
/// belongs to the thread that is named with it.
async fn check_marks(
    db: &mut Connection,
    room_nid: RoomNid,
    marks: &[ReadUpTo<'_>],
) -> Result<HashMap<OwnedEventId, HistoryOrder>, Error> {
    let event_ids: Vec<&EventId> = marks.iter().map(|mark| mark.event_id).collect();
    if event_ids.iter().any(|id| id.as_str().contains('\0')) {
        return Err(Error::Invalid("This is not the id of an event".to_owned()));
    }
    let orders = receipts::orders(&mut *db, room_nid, &event_ids).await?;
    for mark in marks {
        if !orders.contains_key(mark.event_id) {
            return Err(Error::UnknownEvent);
        }
        if let Some(thread_id) = mark.kind.thread_id()
            && !thread::contains(&mut *db, room_nid, thread_id, mark.event_id).await?
        {
            return Err(Error::Invalid("The event is not in the thread".to_owned()));
        }
    }
    Ok(orders)
}
