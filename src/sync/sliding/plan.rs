//! What a response says of each selected room: nothing, what is new, or more than before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use event::EventFilter;
use live::ChangedRooms;
use ruma::{RoomId, events::room::member::MembershipState};
use storage::memberships::Membership;
use types::{RoomNid, StreamPosition};

use super::{
    SlidingQuery,
    connection::SentRoom,
    lists::{Rules, SelectedRoom},
    request::{Request, RequiredState, RoomConfig, Scope},
};
use crate::{
    query::{RoomQuery, StateAt, StateQuery, TimelineQuery},
    required_state::Required,
};

/// The most rooms in a response; the others are in the next ones.
const MAX_ROOMS: usize = 1_000;

/// What is to be collected of a room.
#[derive(Clone, Debug)]
pub(super) struct RoomPlan<'a> {
    /// The client has what happened in the room up to here; nothing if there is no position.
    pub(super) since: Option<StreamPosition>,
    pub(super) config: Arc<RoomConfig>,
    /// With what the room was sent before.
    pub(super) sent_config: Option<&'a RoomConfig>,
    /// Whether it was said to be a direct chat, if it was sent.
    pub(super) was_direct: Option<bool>,
    /// Whether it is to be said that this has changed.
    direct_changed: bool,
    /// What is to be sent of the state whether it changed or not.
    pub(super) added: Option<Arc<RequiredState>>,
    /// Whether the timeline reaches back over what the client has.
    pub(super) is_expanded: bool,
    pub(super) typing: bool,
    pub(super) receipts: bool,
    pub(super) account_data: bool,
    /// The lists that select the room.
    pub(super) lists: Vec<&'a str>,
}

impl RoomPlan<'_> {
    /// What is asked of the room.
    pub(super) fn query<'q>(&'q self, all: &'q EventFilter) -> RoomQuery<'q> {
        RoomQuery {
            since: self.since,
            timeline: TimelineQuery {
                limit: self.config.timeline_limit,
                filter: all,
                is_expanded: self.is_expanded,
            },
            state: StateQuery {
                filter: Some(all),
                required: Some(Required {
                    selected: &self.config.required_state,
                    added: self.added.as_deref(),
                    sent: self.sent_config.map(|config| &config.required_state),
                }),
                at: StateAt::TimelineEnd,
                is_full: false,
                lazy_load_members: false,
            },
            typing: self.typing,
            receipts: self.receipts,
            account_data: self.account_data.then_some(all),
            is_always_told: self.direct_changed,
        }
    }
}

/// The plans of the rooms of which there may be something to tell.
pub(super) type Plans<'a> = HashMap<RoomNid, RoomPlan<'a>>;

/// Plans for the rooms of a selection.
pub(super) fn rooms<'a>(
    query: SlidingQuery<'a>,
    changed: &ChangedRooms,
    rooms: &[SelectedRoom<'a, '_>],
) -> Plans<'a> {
    let mut planner = Planner {
        query,
        changed,
        data_changed: query.data_changed(changed).into_iter().collect(),
        configs: HashMap::new(),
        added: HashMap::new(),
    };
    let plans = rooms.iter().filter_map(|(room, rules)| {
        let plan = planner.plan(room, rules)?;
        Some((room.room_nid, plan))
    });
    plans.take(MAX_ROOMS).collect()
}

struct Planner<'a, 'c> {
    query: SlidingQuery<'a>,
    changed: &'c ChangedRooms,
    /// The rooms whose account data changed.
    data_changed: HashSet<RoomNid>,
    /// The configuration of rooms that the same rules select.
    configs: HashMap<Rules<'a>, Arc<RoomConfig>>,
    /// What is added to the state where one configuration follows another.
    added: HashMap<(*const RoomConfig, *const RoomConfig), Option<Arc<RequiredState>>>,
}

impl<'a> Planner<'a, '_> {
    /// The plan for a room; none if there is nothing to tell.
    fn plan(&mut self, room: &Membership, rules: &Rules<'a>) -> Option<RoomPlan<'a>> {
        let config = self.config(&room.room_id, rules);
        let extensions = &self.query.request.extensions;
        let is_told = |scope: &Option<Scope>| {
            let scope = scope.as_ref();
            scope.is_some_and(|scope| {
                scope.contains(room.room_id.as_str(), &rules.lists, rules.is_subscribed)
            })
        };
        let mut plan = RoomPlan {
            since: None,
            config,
            sent_config: None,
            was_direct: None,
            direct_changed: false,
            added: None,
            is_expanded: false,
            typing: is_told(&extensions.typing),
            receipts: is_told(&extensions.receipts),
            account_data: is_told(&extensions.account_data),
            lists: rules.lists.clone(),
        };
        let connection = &**self.query.connection;
        let Some(sent) = connection.room(room.room_nid) else {
            return Some(plan);
        };
        plan.since = sent.until.or(self.query.since_stream());
        plan.was_direct = Some(sent.is_direct);
        plan.sent_config = connection.config(sent);
        if room.membership == MembershipState::Join {
            plan.direct_changed = self.changed.user.is_direct(&room.room_id) != sent.is_direct;
            let before = plan.sent_config;
            plan.is_expanded =
                before.is_none_or(|before| plan.config.timeline_limit > before.timeline_limit);
            plan.added = self.added(&plan, rules);
        }
        self.has_news(room, sent, &plan).then_some(plan)
    }

    /// Whether there may be something to tell of a room that the client has.
    fn has_news(&self, room: &Membership, sent: &SentRoom, plan: &RoomPlan<'_>) -> bool {
        let (changed, room_nid) = (self.changed, room.room_nid);
        sent.until.is_some()
            || plan.is_expanded
            || plan.added.is_some()
            || changed.rooms.contains(&room_nid)
            || (plan.typing && changed.typing.contains(&room_nid))
            || (plan.account_data && self.data_changed.contains(&room_nid))
            || plan.direct_changed
    }

    /// The configuration of a room.
    fn config(&mut self, room_id: &RoomId, rules: &Rules<'a>) -> Arc<RoomConfig> {
        let request = self.query.request;
        if rules.is_subscribed {
            return Arc::new(combined(request, room_id, rules));
        }
        if let Some(known) = self.configs.get(rules) {
            return known.clone();
        }
        let config = Arc::new(combined(request, room_id, rules));
        self.configs.insert(rules.clone(), config.clone());
        config
    }

    /// What of the state the client is to be sent, though it did not change.
    fn added(&mut self, plan: &RoomPlan<'a>, rules: &Rules<'a>) -> Option<Arc<RequiredState>> {
        let selected = &plan.config.required_state;
        let Some(before) = plan.sent_config else {
            return Some(Arc::new(selected.clone()));
        };
        let added = || selected.without(&before.required_state).map(Arc::new);
        if rules.is_subscribed {
            return added();
        }
        // The configurations of lists live as long as this, and so do those of the connection.
        let key = (Arc::as_ptr(&plan.config), std::ptr::from_ref(before));
        self.added.entry(key).or_insert_with(added).clone()
    }
}

/// What all rules that select a room ask for.
fn combined(request: &Request, room_id: &RoomId, rules: &Rules<'_>) -> RoomConfig {
    let lists = rules
        .lists
        .iter()
        .filter_map(|name| request.lists.get(*name));
    let lists = lists.map(|list| &list.config);
    let subscription = request.subscriptions.get(room_id);
    let subscription = subscription.filter(|_| rules.is_subscribed);
    let configs = lists.chain(subscription).cloned();
    configs
        .reduce(|combined, config| combined.combine(&config))
        .unwrap_or_default()
}
