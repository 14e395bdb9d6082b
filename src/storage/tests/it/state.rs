//! The current state and memberships follow the deltas.

use ruma::events::room::member::MembershipState;
use serde_json::json;
use storage::{
    Change, Connection,
    committer::WriteSet,
    events::{self, Span},
    memberships, state_deltas,
    stream::{StateChange, StateEvent},
};
use testkit::TestDatabase;
use types::{HistoryOrder, StreamPosition};

use crate::support::{Room, alice, delta};

async fn commit(test: &TestDatabase, set: WriteSet) -> StreamPosition {
    let commit = test.committer.submit(set).await;
    commit.durable().await.expect("committed")
}

async fn members(db: &mut Connection) -> Vec<MembershipState> {
    let found = memberships::of_user(db, &alice()).await.expect("rooms");
    found.into_iter().map(|room| room.membership).collect()
}

#[tokio::test]
async fn a_key_that_vanishes_or_returns_changes_state_and_membership() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    commit(&test, room.next().await).await;
    let mut joins = room.member(&alice(), "join").await;
    let joined = delta(&mut joins)[0].clone();
    let first = commit(&test, joins).await;
    let mut db = test.database.acquire().await.expect("a connection");
    assert_eq!(members(&mut db).await, [MembershipState::Join]);

    // A message after which the resolved state has no such member.
    let mut set = room.next().await;
    *delta(&mut set) = vec![StateChange {
        key: joined.key,
        from: joined.to.clone(),
        to: None,
    }];
    commit(&test, set).await;
    assert_eq!(members(&mut db).await, []);
    let state = events::current_state(&mut db, &[room.nid()]).await;
    assert_eq!(state.expect("state").len(), 1, "the create event");

    // And one after which it has it again: an event from long before.
    let mut set = room.next().await;
    *delta(&mut set) = vec![StateChange {
        key: joined.key,
        from: None,
        to: joined.to.clone(),
    }];
    let last = commit(&test, set).await;
    assert_eq!(members(&mut db).await, [MembershipState::Join]);

    let span = |after| Span {
        room_nid: room.nid(),
        after,
        until: last,
    };
    let each = state_deltas::each(&mut db, &[span(first)]).await;
    let each = each.expect("deltas");
    let nids = |event: &Option<StateEvent>| event.as_ref().map(|event| event.nid);
    let joined_nid = nids(&joined.to);
    let changes: Vec<_> = each
        .iter()
        .flat_map(|(_, delta)| &delta.changes)
        .map(|change| (nids(&change.from), nids(&change.to)))
        .collect();
    assert_eq!(changes, [(joined_nid, None), (None, joined_nid)]);
    // Taken together nothing has changed since the join, and the member has come since before it.
    for (after, from) in [(first, joined_nid), (StreamPosition::START, None)] {
        let net = state_deltas::net_changes(&mut db, &[span(after)]).await;
        let net = net.expect("changes").remove(&room.nid()).expect("changes");
        let change = net.iter().find(|change| change.key == joined.key);
        let change = change.expect("the member");
        assert_eq!((nids(&change.from), nids(&change.to)), (from, joined_nid));
    }
}

#[tokio::test]
async fn another_process_reads_a_delta_right_after_its_event() {
    let mut here = testkit::database().await;
    let there = TestDatabase::open(here.options.clone()).await;
    let mut room = Room::new(&there).await;
    let mut sets = vec![room.next().await, room.member(&alice(), "join").await];
    let mut message = room.next().await;
    // The state forgets the member by a message.
    let joined = delta(&mut sets[1])[0].clone();
    *delta(&mut message) = vec![StateChange {
        key: joined.key,
        from: joined.to,
        to: None,
    }];
    sets.push(message);
    for set in sets {
        commit(&there, set).await;
    }
    // The first tick of the heartbeat comes at once.
    let batch = here
        .feed
        .next()
        .await
        .expect("the database")
        .expect("a batch");
    let mut kinds = Vec::new();
    for (position, change) in &batch.changes {
        kinds.push(match change {
            Change::Event(change) => {
                assert_eq!(change.event.position, Some(*position));
                (position.get(), "event", true)
            }
            Change::State(delta) => (position.get(), "state", delta.changes[0].to.is_some()),
            _ => (position.get(), "other", false),
        });
    }
    let expected = [
        (1, "event", true),
        (2, "state", true),
        (3, "event", true),
        (4, "state", true),
        (5, "event", true),
        (6, "state", false),
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn the_history_of_a_key_follows_the_current_state_and_not_the_order_of_arrival() {
    let test = testkit::database().await;
    let mut room = Room::new(&test).await;
    commit(&test, room.next().await).await;
    let topic = async |room: &mut Room, text: &str| {
        let content = json!({ "topic": text });
        room.write(alice(), "m.room.topic", Some(String::new()), content)
            .await
    };
    let mut first = topic(&mut room, "first").await;
    let first_change = delta(&mut first)[0].clone();
    let first_at = commit(&test, first).await;
    let mut second = topic(&mut room, "second").await;
    let second_change = delta(&mut second)[0].clone();
    let second_at = commit(&test, second).await;
    // It is accepted, but loses state resolution.
    let mut lost = topic(&mut room, "lost").await;
    delta(&mut lost).clear();
    commit(&test, lost).await;
    // A message after which the first one is current again.
    let mut set = room.next().await;
    *delta(&mut set) = vec![StateChange {
        from: second_change.to,
        ..first_change
    }];
    let again_at = commit(&test, set).await;

    let mut db = test.database.acquire().await.expect("a connection");
    let nids = [room.nid()];
    let found = events::current_state_history(&mut db, &nids, "m.room.topic", "").await;
    let found: Vec<_> = found
        .expect("events")
        .into_iter()
        .map(|event| (event.pdu.content_text().to_owned(), event.history_order))
        .collect();
    let expected = [
        ("first", first_at),
        ("second", second_at),
        ("first", again_at),
    ]
    .map(|(text, delta_at)| {
        let event_at = StreamPosition(delta_at.get() - 1);
        let content = json!({ "topic": text }).to_string();
        (content, Some(HistoryOrder::of(event_at)))
    });
    assert_eq!(found, expected);
    let all = events::state_history(&mut db, &nids, "m.room.topic", "").await;
    assert_eq!(all.expect("events").len(), 3);
}
