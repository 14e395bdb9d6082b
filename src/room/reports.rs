//! Reports to the administrators.

use ruma::{EventId, RoomId, UserId, events::room::member::MembershipState};
use storage::reports;

use crate::{Error, Rooms};

/// The longest reason, in bytes.
const MAX_REASON: usize = 8 * 1024;

impl Rooms {
    /// Reports an event of a room that the user is in.
    pub async fn report_event(
        &self,
        reporter: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let head = self.head(room_id).await.map_err(|error| match error {
            Error::UnknownRoom => Error::UnknownEvent,
            error => error,
        })?;
        if head.state.membership(reporter) != MembershipState::Join {
            return Err(Error::UnknownEvent);
        }
        {
            let mut db = self.0.database.acquire().await?;
            let event = storage::events::find(&mut db, head.room_nid, event_id).await?;
            event.ok_or(Error::UnknownEvent)?;
        }
        let subject = reports::Subject::Event(room_id, event_id);
        self.report(reporter, subject, reason).await
    }

    /// Reports a room that is known here.
    pub async fn report_room(
        &self,
        reporter: &UserId,
        room_id: &RoomId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        {
            let mut db = self.0.database.acquire().await?;
            let status = storage::rooms::status(&mut db, room_id).await?;
            status.ok_or(Error::UnknownRoom)?;
        }
        let subject = reports::Subject::Room(room_id);
        self.report(reporter, subject, reason).await
    }

    /// Reports a user.
    pub async fn report_user(
        &self,
        reporter: &UserId,
        user_id: &UserId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let subject = reports::Subject::User(user_id);
        self.report(reporter, subject, reason).await
    }

    async fn report(
        &self,
        reporter: &UserId,
        subject: reports::Subject<'_>,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        if reason.is_some_and(|reason| reason.len() > MAX_REASON) {
            return Err(Error::Invalid(format!(
                "`reason` must not have more than {MAX_REASON} bytes"
            )));
        }
        let limits = &self.0.settings.limits;
        let now = i64::try_from(self.0.clock.now_ms()).unwrap_or(i64::MAX);
        let mut db = self.0.database.acquire().await?;
        if reports::count_by(&mut db, reporter).await? >= i64::from(limits.reports_per_user) {
            return Err(limits.too_many_reports().into());
        }
        reports::insert(&mut db, reporter, subject, reason, now).await?;
        tracing::warn!(user.id = %reporter, ?subject, "A user has made a report");
        Ok(())
    }
}
