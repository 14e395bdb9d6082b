//! Writes search results as JSON.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use event::{Pdu, json::JsonWriter};
use live::{Reader, UserVisibility};
use ruma::{OwnedRoomId, events::room::member::MembershipState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::{StoredEvent, events, search, snapshots};
use types::{EventNid, PageToken, RoomNid, SnapshotNid};

use super::{EventSearch, Found, Results, SearchContext, Surroundings, write_groups};
use crate::{
    Error, Rooms,
    render::{self, Renderer},
};

/// Name and avatar of a user, as a member event has them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct MemberProfile {
    #[serde(skip_serializing_if = "Option::is_none")]
    displayname: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<Value>,
}

/// The profiles of senders, by the state that they are of.
type Profiles = HashMap<(SnapshotNid, String), MemberProfile>;

impl Rooms {
    /// The body of the response.
    pub(super) async fn write_results(
        &self,
        reader: Reader<'_>,
        wanted: &EventSearch,
        results: &Results<'_>,
    ) -> Result<String, Error> {
        let page = results.page;
        let profiles = match wanted.context {
            Some(context) if context.include_profile => self.profiles_at(results).await?,
            _ => Profiles::new(),
        };
        let states = if wanted.include_state {
            self.states_of(reader, results).await?
        } else {
            BTreeMap::new()
        };
        let writer = ResultWriter {
            reader,
            results,
            context: wanted.context,
            profiles: &profiles,
            now_ms: self.0.clock.now_ms(),
        };
        let mut json = JsonWriter::new();
        json.object(|json| {
            json.field("search_categories").object(|json| {
                json.field("room_events").object(|json| {
                    json.field("count").literal(page.count);
                    json.field("highlights").array(
                        search::highlights(&wanted.term),
                        |json, word| {
                            json.string(&word);
                        },
                    );
                    let numbered = page.results.iter().enumerate();
                    json.field("results")
                        .array(numbered, |json, (number, found)| {
                            writer.write(json, found, results.surroundings.get(number));
                        });
                    if !wanted.groupings.is_empty() {
                        write_groups(json, &wanted.groupings, page);
                    }
                    if wanted.include_state {
                        json.field("state").object(|json| {
                            for (room_id, state) in &states {
                                json.field(room_id.as_str()).raw(state);
                            }
                        });
                    }
                    if let Some(next) = &page.next {
                        json.field("next_batch").string(&next.to_string());
                    }
                });
            });
        });
        Ok(json.into_string())
    }

    /// The states of the rooms of the results, as the searcher may see them.
    async fn states_of(
        &self,
        reader: Reader<'_>,
        results: &Results<'_>,
    ) -> Result<BTreeMap<OwnedRoomId, String>, Error> {
        let found = results.page.results.iter();
        let rooms: BTreeMap<RoomNid, &OwnedRoomId> = found
            .map(|found| (found.event.room_nid, found.event.pdu.room_id()))
            .collect();
        let now_ms = self.0.clock.now_ms();
        let mut states = BTreeMap::new();
        for (room_nid, room_id) in rooms {
            let head = self.head(room_id).await?;
            let state = if head.state.membership(reader.user_id) == MembershipState::Join {
                self.0.live.whole_state(&head.state).await?
            } else {
                let visibility = results.views.of_room(room_nid);
                let last_leave = visibility.and_then(UserVisibility::last_leave);
                let snapshot = last_leave.and_then(|leave| leave.snapshot_nid);
                let mut db = self.0.database.acquire().await?;
                self.state_after(&mut db, snapshot).await?
            };
            let events = state.iter().map(AsRef::as_ref);
            states.insert(room_id.clone(), render::state(events, now_ms));
        }
        Ok(states)
    }

    /// The profiles that the senders of the events had at each result: two queries for all.
    async fn profiles_at(&self, results: &Results<'_>) -> Result<Profiles, Error> {
        let around = results.surroundings.iter();
        let around = around.flat_map(|around| around.before.iter().chain(&around.after));
        let found = results.page.results.iter().map(|found| &found.event);
        let senders: BTreeSet<String> = found
            .clone()
            .chain(around)
            .map(|event| event.pdu.sender().to_string())
            .collect();
        let keys = senders.into_iter();
        let keys = keys.map(|user_id| ("m.room.member".to_owned(), user_id));
        let keys = self.0.state_keys.ids(keys).await?;
        let key_nids: Vec<_> = keys.values().copied().collect();
        let snapshots: BTreeSet<SnapshotNid> =
            found.filter_map(|event| event.snapshot_nid).collect();
        let snapshots: Vec<SnapshotNid> = snapshots.into_iter().collect();
        let mut db = self.0.database.acquire().await?;
        let states = snapshots::read_keys_at(&mut db, &snapshots, &key_nids).await?;
        let nids = states.values().flat_map(|state| state.values().copied());
        let nids: Vec<EventNid> = nids.collect::<BTreeSet<_>>().into_iter().collect();
        let members = events::state_events(&mut db, &nids).await?;
        let mut profiles = Profiles::new();
        for (snapshot, state) in states {
            for member in state.values().filter_map(|nid| members.get(nid)) {
                let user_id = member.pdu.state_key().unwrap_or_default().to_owned();
                profiles.insert((snapshot, user_id), profile(&member.pdu));
            }
        }
        Ok(profiles)
    }
}

fn profile(member: &Pdu) -> MemberProfile {
    let profile: MemberProfile = member.content_as().unwrap_or_default();
    MemberProfile {
        displayname: profile.displayname.filter(Value::is_string),
        avatar_url: profile.avatar_url.filter(Value::is_string),
    }
}

/// Writes the results for one reader.
struct ResultWriter<'a> {
    reader: Reader<'a>,
    results: &'a Results<'a>,
    context: Option<SearchContext>,
    profiles: &'a Profiles,
    now_ms: u64,
}

impl ResultWriter<'_> {
    fn write(&self, json: &mut JsonWriter, found: &Found, around: Option<&Surroundings>) {
        let nothing = UserVisibility::default();
        let visibility = self.results.views.of_room(found.event.room_nid);
        let renderer = Renderer {
            reader: self.reader,
            visibility: visibility.unwrap_or(&nothing),
            aggregations: self.results.aggregations,
            now_ms: self.now_ms,
        };
        json.object(|json| {
            json.field("rank").raw(&found.hit.rank.to_string());
            json.field("result")
                .raw_with(|out| renderer.event(&found.event, out));
            if let Some((context, around)) = self.context.zip(around) {
                json.field("context").object(|json| {
                    self.write_context(json, &renderer, (found, around), context);
                });
            }
        });
    }

    fn write_context(
        &self,
        json: &mut JsonWriter,
        renderer: &Renderer<'_>,
        (found, around): (&Found, &Surroundings),
        context: SearchContext,
    ) {
        let at = found.hit.place.order;
        let place = |event: Option<&StoredEvent>| {
            let order = event.and_then(|event| event.history_order);
            order.unwrap_or(at)
        };
        // The tokens stand outside of what is shown, so that paging goes on from there.
        let start = PageToken(place(around.before.last()).before());
        let end = PageToken(place(around.after.last()));
        json.field("start").string(&start.to_string());
        json.field("end").string(&end.to_string());
        json.field("events_before")
            .raw(&renderer.events(&around.before));
        json.field("events_after")
            .raw(&renderer.events(&around.after));
        if context.include_profile {
            let events = around.before.iter().chain(&around.after);
            let events = events.chain([&found.event]);
            let senders: BTreeSet<&str> = events.map(|event| event.pdu.sender().as_str()).collect();
            json.field("profile_info").object(|json| {
                for sender in senders {
                    let snapshot = found.event.snapshot_nid.unwrap_or_default();
                    let profile = self.profiles.get(&(snapshot, sender.to_owned()));
                    let profile = profile.and_then(|found| serde_json::to_string(found).ok());
                    json.field(sender).raw(profile.as_deref().unwrap_or("{}"));
                }
            });
        }
    }
}
