//! The bodies of requests, and what they mean.

use std::{collections::BTreeMap, time::Duration};

use live::PresenceState;
use ruma::{DeviceId, OwnedRoomId, UserId};
use serde::Deserialize;
use sync::sliding_sync::{
    Extensions, Format, ListFilters, Request, RequiredState, RoomConfig, RoomList, Scope, ToDevice,
};

use super::Query;

/// Whose request it is.
#[derive(Clone, Copy)]
pub(super) struct Requester<'a> {
    pub(super) user_id: &'a UserId,
    pub(super) device_id: &'a DeviceId,
}

/// What a request says besides the rooms that it is about.
pub(super) struct Parameters {
    pub(super) pos: Option<String>,
    pub(super) timeout: Duration,
    pub(super) set_presence: PresenceState,
}

/// The body at the unstable path.
#[derive(Debug, Deserialize)]
pub(crate) struct UnstableBody(Body<UnstableList, UnstableConfig>);

/// The body at the stable path, which has all parameters.
#[derive(Debug, Deserialize)]
pub(crate) struct StableBody {
    #[serde(flatten)]
    query: Query,
    #[serde(flatten)]
    body: Body<StableList, StableConfig>,
}

/// What both bodies have.
#[derive(Debug, Deserialize)]
struct Body<L, C> {
    conn_id: Option<String>,
    txn_id: Option<String>,
    lists: Option<BTreeMap<String, L>>,
    room_subscriptions: Option<BTreeMap<OwnedRoomId, C>>,
    extensions: Option<ExtensionsBody>,
}

#[derive(Debug, Deserialize)]
struct UnstableList {
    ranges: Option<Vec<(u64, u64)>>,
    filters: Option<Filters>,
    timeline_limit: u64,
    required_state: Option<Vec<(String, String)>>,
}

#[derive(Debug, Deserialize)]
struct UnstableConfig {
    timeline_limit: u64,
    required_state: Option<Vec<(String, String)>>,
}

#[derive(Debug, Deserialize)]
struct StableList {
    range: Option<(u64, u64)>,
    filters: Option<Filters>,
    timeline_limit: u64,
    required_state: StableRequiredState,
}

#[derive(Debug, Deserialize)]
struct StableConfig {
    timeline_limit: u64,
    required_state: StableRequiredState,
}

#[derive(Debug, Deserialize)]
struct StableRequiredState {
    include: Option<Vec<StateElement>>,
    exclude: Option<Vec<StateElement>>,
    lazy_members: Option<bool>,
}

/// A type and a state key; what is missing stands for all.
#[derive(Debug, Deserialize)]
struct StateElement {
    #[serde(rename = "type")]
    event_type: Option<String>,
    state_key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Filters {
    is_dm: Option<bool>,
    spaces: Option<Vec<OwnedRoomId>>,
    is_encrypted: Option<bool>,
    #[serde(alias = "is_invite")]
    is_invited: Option<bool>,
    room_types: Option<Vec<Option<String>>>,
    not_room_types: Option<Vec<Option<String>>>,
    tags: Option<Vec<String>>,
    not_tags: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct ExtensionsBody {
    to_device: Option<ToDeviceBody>,
    e2ee: Option<E2eeBody>,
    account_data: Option<ScopeBody>,
    receipts: Option<ScopeBody>,
    typing: Option<ScopeBody>,
}

#[derive(Debug, Deserialize)]
struct ToDeviceBody {
    enabled: Option<bool>,
    since: Option<String>,
    limit: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct E2eeBody {
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct ScopeBody {
    enabled: Option<bool>,
    lists: Option<Vec<String>>,
    rooms: Option<Vec<String>>,
}

impl UnstableBody {
    /// What the request asks for.
    pub(super) fn into_request(self, requester: Requester<'_>, parameters: Parameters) -> Request {
        let config = |limit, required: Option<Vec<_>>| {
            RoomConfig::new(
                limit,
                tuples(required.unwrap_or_default(), requester.user_id),
            )
        };
        let list = |list: UnstableList| RoomList {
            ranges: list.ranges,
            filters: list.filters.unwrap_or_default().into(),
            config: config(list.timeline_limit, list.required_state),
        };
        let body = self.0.map(list, |room| {
            config(room.timeline_limit, room.required_state)
        });
        body.into_request(requester, parameters, Format::Unstable)
    }
}

impl StableBody {
    /// The parameters that the unstable path has in its query.
    pub(super) fn take_query(&mut self) -> Query {
        std::mem::take(&mut self.query)
    }

    /// What the request asks for.
    pub(super) fn into_request(self, requester: Requester<'_>, parameters: Parameters) -> Request {
        let list = |list: StableList| RoomList {
            ranges: list.range.map(|range| vec![range]),
            filters: list.filters.unwrap_or_default().into(),
            config: RoomConfig::new(list.timeline_limit, list.required_state.into()),
        };
        let body = self.body.map(list, |room| {
            RoomConfig::new(room.timeline_limit, room.required_state.into())
        });
        body.into_request(requester, parameters, Format::Stable)
    }
}

impl<L, C> Body<L, C> {
    /// The same with what its lists and subscriptions mean.
    fn map(
        self,
        list: impl Fn(L) -> RoomList,
        config: impl Fn(C) -> RoomConfig,
    ) -> Body<RoomList, RoomConfig> {
        let lists = self.lists.unwrap_or_default().into_iter();
        let rooms = self.room_subscriptions.unwrap_or_default().into_iter();
        Body {
            conn_id: self.conn_id,
            txn_id: self.txn_id,
            lists: Some(lists.map(|(name, body)| (name, list(body))).collect()),
            room_subscriptions: Some(
                rooms
                    .map(|(room_id, body)| (room_id, config(body)))
                    .collect(),
            ),
            extensions: self.extensions,
        }
    }
}

impl Body<RoomList, RoomConfig> {
    fn into_request(
        self,
        requester: Requester<'_>,
        parameters: Parameters,
        format: Format,
    ) -> Request {
        Request {
            user_id: requester.user_id.to_owned(),
            device_id: requester.device_id.to_owned(),
            conn_id: self.conn_id.unwrap_or_default(),
            pos: parameters.pos,
            txn_id: self.txn_id,
            timeout: parameters.timeout,
            set_presence: parameters.set_presence,
            lists: self.lists.unwrap_or_default(),
            subscriptions: self.room_subscriptions.unwrap_or_default(),
            extensions: self.extensions.unwrap_or_default().into(),
            format,
        }
    }
}

/// Types and state keys of the unstable form, in which `$ME` and `$LAZY` stand for members.
fn tuples(required: Vec<(String, String)>, user_id: &UserId) -> RequiredState {
    let mut state = RequiredState::default();
    for (event_type, state_key) in required {
        match &*state_key {
            "$LAZY" if event_type == "m.room.member" => state.set_lazy_members(),
            "$ME" => state.include(&event_type, user_id.as_str()),
            state_key => state.include(&event_type, state_key),
        }
    }
    state
}

impl From<StableRequiredState> for RequiredState {
    fn from(required: StableRequiredState) -> Self {
        fn texts(element: &StateElement) -> (&str, &str) {
            let event_type = element.event_type.as_deref();
            let state_key = element.state_key.as_deref();
            (event_type.unwrap_or("*"), state_key.unwrap_or("*"))
        }
        let mut state = Self::default();
        for element in required.include.iter().flatten() {
            let (event_type, state_key) = texts(element);
            state.include(event_type, state_key);
        }
        for element in required.exclude.iter().flatten() {
            let (event_type, state_key) = texts(element);
            state.exclude(event_type, state_key);
        }
        if required.lazy_members.unwrap_or_default() {
            state.set_lazy_members();
        }
        state
    }
}

impl From<Filters> for ListFilters {
    fn from(filters: Filters) -> Self {
        Self {
            is_dm: filters.is_dm,
            spaces: filters.spaces,
            is_encrypted: filters.is_encrypted,
            is_invited: filters.is_invited,
            room_types: filters.room_types,
            not_room_types: filters.not_room_types.unwrap_or_default(),
            tags: filters.tags,
            not_tags: filters.not_tags.unwrap_or_default(),
        }
    }
}

impl From<ExtensionsBody> for Extensions {
    fn from(extensions: ExtensionsBody) -> Self {
        let to_device = extensions.to_device;
        let to_device = to_device.filter(|to_device| to_device.enabled.unwrap_or_default());
        let e2ee = extensions.e2ee.and_then(|e2ee| e2ee.enabled);
        Self {
            to_device: to_device.map(|to_device| ToDevice {
                since: to_device.since,
                limit: to_device.limit,
            }),
            e2ee: e2ee.unwrap_or_default(),
            account_data: scope(extensions.account_data),
            receipts: scope(extensions.receipts),
            typing: scope(extensions.typing),
        }
    }
}

/// The scope of an extension, if it is asked for.
fn scope(body: Option<ScopeBody>) -> Option<Scope> {
    let body = body.filter(|body| body.enabled.unwrap_or_default())?;
    Some(Scope {
        lists: body.lists,
        rooms: body.rooms,
    })
}
