//! What is returned with an event of the events that relate to it.
//!
//! Spec: client-server, "Aggregations of child events".

use std::collections::HashMap;

use event::{Pdu, json::JsonWriter};
use ruma::{OwnedEventId, UserId};
use serde::Deserialize;
use storage::{Connection, Error, StoredEvent, events, events::ChildEvent};
use types::{EventNid, HistoryOrder, RoomNid};

/// How many events that relate to one event are looked at, the newest.
const MAX_CHILDREN: i64 = 10_000;
/// How many edits are read to find one that is valid.
const MAX_EDITS: usize = 3;

/// Which events count for a reader.
#[derive(Clone, Copy)]
pub struct ChildFilter<'a> {
    /// The reader.
    pub user_id: &'a UserId,
    /// Whether the reader ignores a user.
    pub ignores: &'a (dyn Fn(&UserId) -> bool + Sync),
    /// Whether the reader sees an event of a room at a place.
    pub sees: &'a (dyn Fn(RoomNid, EventNid, HistoryOrder) -> bool + Sync),
}

/// The threads, edits and references of some events, for one reader.
#[derive(Debug, Default)]
pub struct Aggregations {
    by_target: HashMap<EventNid, Aggregation>,
    /// Those that are returned whole.
    children: HashMap<EventNid, StoredEvent>,
}

/// The events that relate to one event.
#[derive(Debug, Default)]
struct Aggregation {
    thread: Option<Thread>,
    /// The newest first.
    edits: Vec<EventNid>,
    /// The oldest first.
    references: Vec<OwnedEventId>,
}

/// The thread that an event is the root of.
#[derive(Debug)]
struct Thread {
    latest: EventNid,
    count: u64,
    has_participated: bool,
}

/// Writes an event with its `m.relations`, if it has any.
pub type WriteEvent<'a> = dyn Fn(&StoredEvent, Option<&str>, &mut String) + 'a;

impl Aggregations {
    /// Reads those of all events together: no query if nothing relates to any, else two, and two more
    /// if something relates to the last event of a thread or to an edit.
    pub async fn load<'e>(
        db: &mut Connection,
        events: impl IntoIterator<Item = &'e StoredEvent>,
        filter: ChildFilter<'_>,
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut targets: Vec<StoredEvent> = events
            .into_iter()
            .filter(|event| event.has_relations && !event.pdu.is_state())
            .cloned()
            .collect();
        for _ in 0..2 {
            if targets.is_empty() {
                break;
            }
            targets = found.add(db, targets, filter).await?;
        }
        Ok(found)
    }

    /// Adds those of some events; returns the children that something relates to.
    async fn add(
        &mut self,
        db: &mut Connection,
        targets: Vec<StoredEvent>,
        filter: ChildFilter<'_>,
    ) -> Result<Vec<StoredEvent>, Error> {
        let nids: Vec<EventNid> = targets.iter().map(|target| target.nid).collect();
        let children = events::children(db, &nids, MAX_CHILDREN).await?;
        let mut by_target: HashMap<EventNid, Vec<ChildEvent>> = HashMap::new();
        for child in children {
            by_target.entry(child.target).or_default().push(child);
        }
        let mut needed = Vec::new();
        for target in targets {
            let children = by_target.remove(&target.nid).unwrap_or_default();
            let aggregation = Aggregation::of(&target, &children, filter);
            needed.extend(aggregation.children());
            self.by_target.insert(target.nid, aggregation);
        }
        needed.retain(|nid| !self.children.contains_key(nid));
        if needed.is_empty() {
            return Ok(Vec::new());
        }
        let read = events::by_nids(db, &needed).await?;
        let related = read
            .iter()
            .filter(|child| child.has_relations && !self.by_target.contains_key(&child.nid));
        let related = related.cloned().collect();
        let read = read.into_iter().map(|child| (child.nid, child));
        self.children.extend(read);
        Ok(related)
    }

    /// The events that are returned whole.
    pub fn children(&self) -> Vec<StoredEvent> {
        self.children.values().cloned().collect()
    }

    /// Leaves out events that the reader may not see after all.
    pub fn retain(&mut self, may_see: impl Fn(&StoredEvent) -> bool) {
        self.children.retain(|_, child| may_see(child));
    }

    /// The `m.relations` of an event: a JSON object; none without any.
    pub fn write(&self, event: EventNid, write_event: &WriteEvent<'_>) -> Option<String> {
        let aggregation = self.by_target.get(&event)?;
        let edits = aggregation.edits.iter();
        let mut edits = edits.filter_map(|nid| self.children.get(nid));
        let edit = edits.find(|edit| is_valid_edit(&edit.pdu));
        let thread = aggregation.thread.as_ref();
        let thread = thread.and_then(|thread| Some((thread, self.children.get(&thread.latest)?)));
        if edit.is_none() && thread.is_none() && aggregation.references.is_empty() {
            return None;
        }
        let write_child = |json: &mut JsonWriter, child: &StoredEvent| {
            let relations = self.write(child.nid, write_event);
            json.raw_with(|out| write_event(child, relations.as_deref(), out));
        };
        let mut json = JsonWriter::new();
        json.object(|json| {
            if !aggregation.references.is_empty() {
                json.field("m.reference").object(|json| {
                    json.field("chunk")
                        .array(&aggregation.references, |json, event_id| {
                            json.object(|json| json.field("event_id").string(event_id.as_str()));
                        });
                });
            }
            if let Some(edit) = edit {
                write_child(json.field("m.replace"), edit);
            }
            if let Some((thread, latest)) = thread {
                json.field("m.thread").object(|json| {
                    write_child(json.field("latest_event"), latest);
                    json.field("count").literal(thread.count);
                    json.field("current_user_participated")
                        .literal(thread.has_participated);
                });
            }
        });
        Some(json.into_string())
    }
}

impl Aggregation {
    /// From the events that relate to a target, newest first.
    fn of(target: &StoredEvent, children: &[ChildEvent], filter: ChildFilter<'_>) -> Self {
        let pdu = &target.pdu;
        let relation = pdu.relation();
        let is_edit = relation
            .as_ref()
            .is_some_and(|to| to.rel_type == "m.replace");
        let may_be_edited = !is_edit && target.redacted_because.is_none();
        let (mut thread, mut edits, mut references): (Option<Thread>, Vec<&ChildEvent>, Vec<_>) =
            Default::default();
        for child in children {
            let is_seen = (filter.sees)(target.room_nid, child.nid, child.order);
            if !is_seen || (filter.ignores)(&child.sender) {
                continue;
            }
            match &*child.rel_type {
                // What relates to an event is not the root of a thread.
                "m.thread" if relation.is_none() => {
                    let thread = thread.get_or_insert(Thread {
                        latest: child.nid,
                        count: 0,
                        has_participated: pdu.sender() == filter.user_id,
                    });
                    thread.count += 1;
                    thread.has_participated |= child.sender == filter.user_id;
                }
                // Spec: client-server, "Validity of replacement events".
                "m.replace"
                    if may_be_edited
                        && child.sender == pdu.sender()
                        && child.event_type == pdu.event_type() =>
                {
                    edits.push(child);
                }
                "m.reference" => references.push(child.event_id.clone()),
                _ => {}
            }
        }
        edits.sort_by(|a, b| {
            (b.origin_server_ts, &b.event_id).cmp(&(a.origin_server_ts, &a.event_id))
        });
        references.reverse();
        Self {
            thread,
            edits: edits.iter().take(MAX_EDITS).map(|edit| edit.nid).collect(),
            references,
        }
    }

    /// The events that may be returned whole.
    fn children(&self) -> impl Iterator<Item = EventNid> {
        let latest = self.thread.iter().map(|thread| thread.latest);
        latest.chain(self.edits.iter().copied())
    }
}

/// Whether an edit says what the new content is; of an encrypted one only clients can tell.
fn is_valid_edit(edit: &Pdu) -> bool {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.new_content")]
        _new_content: serde_json::Map<String, serde_json::Value>,
    }
    edit.event_type() == "m.room.encrypted" || edit.content_as::<Content>().is_ok()
}
