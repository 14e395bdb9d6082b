//! The requests for delayed events (MSC4140).

use ruma::{
    OwnedRoomId, OwnedTransactionId,
    api::auth_scheme::{AccessToken, NoAuthentication},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::endpoint::{arguments, endpoint};

/// Schedules an event.
pub(crate) struct Schedule {
    pub(super) room_id: OwnedRoomId,
    pub(super) event_type: String,
    pub(super) transaction_id: OwnedTransactionId,
    pub(super) body: ScheduleBody,
}

#[derive(Deserialize)]
pub(super) struct ScheduleBody {
    pub(super) delay: u64,
    pub(super) state_key: Option<String>,
    pub(super) content: Box<RawValue>,
}

/// Lists the caller's events.
pub(crate) struct List;

/// Reads one of the caller's events.
pub(crate) struct One {
    pub(super) delay_id: String,
}

/// Does something with an event; what, says the path.
pub(crate) struct Update {
    pub(super) delay_id: String,
    pub(super) action: String,
}

/// The same; the body says what.
pub(crate) struct UpdateByBody {
    pub(super) delay_id: String,
    pub(super) action: Action,
}

/// What is done with a delayed event.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Its delay begins again.
    Restart,
    /// It is not sent.
    Cancel,
    /// It is sent now.
    Send,
}

#[derive(Deserialize)]
struct UpdateBody {
    action: Action,
}

endpoint!(
    Schedule,
    PUT "unstable/org.matrix.msc4140/rooms/{room_id}/delayed_event/{event_type}/{txn_id}",
    AccessToken,
    |path_args, request| {
        let (room_id, event_type, transaction_id) = arguments(path_args)?;
        let body = serde_json::from_slice(request.body())?;
        Ok(Schedule {
            room_id,
            event_type,
            transaction_id,
            body,
        })
    }
);
endpoint!(
    List,
    GET "unstable/org.matrix.msc4140/delayed_events",
    AccessToken,
    |_, _| Ok(List)
);
endpoint!(
    One,
    GET "unstable/org.matrix.msc4140/delayed_events/{delay_id}",
    AccessToken,
    |path_args, _| {
        let (delay_id,) = arguments(path_args)?;
        Ok(One { delay_id })
    }
);
endpoint!(
    Update,
    POST "unstable/org.matrix.msc4140/delayed_events/{delay_id}/{action}",
    NoAuthentication,
    |path_args, _| {
        let (delay_id, action) = arguments(path_args)?;
        Ok(Update { delay_id, action })
    }
);
endpoint!(
    UpdateByBody,
    POST "unstable/org.matrix.msc4140/delayed_events/{delay_id}",
    NoAuthentication,
    |path_args, request| {
        let (delay_id,) = arguments(path_args)?;
        let UpdateBody { action } = serde_json::from_slice(request.body())?;
        Ok(UpdateByBody { delay_id, action })
    }
);
