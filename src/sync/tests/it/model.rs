//! Random rooms: what is applied to the cache is what would be loaded, and what a user may see by
//! the order of the history is what the state at each event allows.

use event::{
    State,
    visibility::{VisibilityContext, may_see},
};
use live::{Room, User, UserVisibility, ViewQuery};
use ruma::{OwnedEventId, OwnedUserId, UserId, events::room::member::MembershipState};
use serde_json::{Value, json};
use storage::{
    events::{self, Direction},
    snapshots,
};
use testkit::{
    Dice,
    room::{TestRoom, commit_changes},
};
use types::{HistoryOrder, StreamPosition};

use crate::support::{Server, alice, bob, server};

fn users() -> Vec<OwnedUserId> {
    let more = ["@carol:test.localhost", "@dave:test.localhost"];
    let more = more.map(|user| OwnedUserId::try_from(user).unwrap());
    [alice(), bob()].into_iter().chain(more).collect()
}

/// Tries something in a room, which the rules may refuse; `sent` are its messages.
async fn step(server: &Server, room: &TestRoom, sent: &[OwnedEventId], dice: &mut Dice) {
    let db = &server.db;
    let user = dice.pick(&users()).clone();
    let text = dice.roll(1000).to_string();
    let set = async |event_type: &str, state_key: &str, content: Value| {
        room.try_state(db, &alice(), (event_type, state_key), &content)
            .await
    };
    let _refused = match dice.roll(12) {
        0 | 1 => room.try_member(db, &user, &user, "join").await,
        2 => room.try_member(db, &user, &user, "leave").await,
        3 => {
            let membership = *dice.pick(&["ban", "leave", "invite"]);
            // The one who does it stays.
            let target = if user == alice() { bob() } else { user };
            room.try_member(db, &alice(), &target, membership).await
        }
        4 => set("m.room.topic", "", json!({ "topic": text })).await,
        5 => {
            let to = *dice.pick(&["shared", "joined", "invited", "world_readable"]);
            let content = json!({ "history_visibility": to });
            set("m.room.history_visibility", "", content).await
        }
        6 if !sent.is_empty() => {
            let target: &OwnedEventId = dice.pick(sent);
            room.try_redact(db, &alice(), target).await
        }
        7 if !sent.is_empty() => {
            let thread = *dice.pick(&["", "main"]);
            let event_id = dice.pick(sent);
            let receipt = room.receipt(db, &user, "m.read", thread, event_id).await;
            commit_changes(db, [receipt]).await;
            Ok(event_id.clone())
        }
        8 => {
            let key = ["a", "b", "c"][dice.roll(3)];
            set("org.test.keyed", key, json!({ "name": text })).await
        }
        _ => room.try_message(db, &user, &text).await,
    };
}

/// Lets many things happen in a room.
async fn play(server: &Server, room: &TestRoom, dice: &mut Dice, steps: usize) {
    for _ in 0..steps {
        let sent = messages(server, room).await;
        step(server, room, &sent, dice).await;
    }
}

/// The events that are not state.
async fn messages(server: &Server, room: &TestRoom) -> Vec<OwnedEventId> {
    let stored = stored(server, room).await.into_iter();
    stored
        .filter(|event| !event.pdu.is_state())
        .map(|event| event.pdu.event_id().clone())
        .collect()
}

async fn stored(server: &Server, room: &TestRoom) -> Vec<storage::StoredEvent> {
    let mut db = server.db.database.acquire().await.unwrap();
    let all = (HistoryOrder::MIN, HistoryOrder(i64::MAX));
    events::history(
        &mut db,
        room.room_nid,
        all.0,
        all.1,
        Direction::Forward,
        10_000,
    )
    .await
    .unwrap()
}

/// All that the cache has of a room, as text that can be compared.
fn describe(room: &Room, state: &State, start: StreamPosition) -> Vec<String> {
    let mut lines = Vec::new();
    for pdu in state.iter() {
        let state_key = pdu.state_key().unwrap_or_default();
        let nid = room.state().event_nid(pdu.event_type(), state_key);
        lines.push(format!("state {nid:?} {} {}", pdu.event_id(), pdu.json()));
    }
    for pdu in room.state().core().iter() {
        lines.push(format!("core {} {}", pdu.event_id(), pdu.json()));
    }
    for (user_id, member) in room.state().members().iter() {
        lines.push(format!("{user_id} {member:?}"));
    }
    let (head, extremities) = (room.state().head(), room.state().extremities());
    lines.push(format!("{head:?} {extremities:?}"));
    lines.push(format!("{:?} {:?}", room.member_counts(), room.heroes()));
    for event in room.timeline().filter(|event| event.position() > start) {
        let stored = event.event();
        let because = stored.redacted_because.as_ref().map(|pdu| pdu.event_id());
        lines.push(format!(
            "event {} {:?} {because:?} {}",
            event.position(),
            stored.history_order,
            event.pdu().json()
        ));
    }
    for (position, change) in room.state_changes_after(start) {
        let name = |event: &Option<storage::stream::StateEvent>| {
            let event = event.as_ref();
            event.map(|event| (event.nid, event.pdu.json().to_owned()))
        };
        lines.push(format!(
            "change {position} {:?} {:?} {:?}",
            change.key,
            name(&change.from),
            name(&change.to)
        ));
    }
    for receipt in room.receipts_after(StreamPosition::START) {
        lines.push(format!("{receipt:?}"));
    }
    for user_id in users() {
        let read = room.read_up_to(&user_id, StreamPosition::START);
        lines.push(format!("{user_id} {read:?}"));
    }
    lines
}

fn describe_user(user: &User) -> Vec<String> {
    let mut rooms: Vec<_> = user.rooms().map(|room| format!("{room:?}")).collect();
    rooms.sort();
    rooms
}

async fn compare(server: &Server, restarted: &Server, user_id: &UserId) {
    let (applied, loaded) = (&server.live, &restarted.live);
    let query = ViewQuery {
        since: None,
        of: &|room| room.membership == MembershipState::Join,
    };
    let (ours, theirs) = (
        applied.subscribe(user_id).await.unwrap(),
        loaded.subscribe(user_id).await.unwrap(),
    );
    let applied = applied.view(&ours, &query).await.unwrap();
    let loaded = loaded.view(&theirs, &query).await.unwrap();
    assert_eq!(describe_user(&applied.user), describe_user(&loaded.user));
    assert_eq!(applied.rooms.len(), loaded.rooms.len());
    for (room_nid, loaded) in &loaded.rooms {
        let applied = &applied.rooms[room_nid];
        let start = loaded.timeline_start().max(applied.timeline_start());
        let ours = server.live.whole_state(applied.state()).await.unwrap();
        let theirs = restarted.live.whole_state(loaded.state()).await.unwrap();
        assert_eq!(
            describe(applied, &ours, start),
            describe(loaded, &theirs, start)
        );
        if let (Some(layers), Some(snapshot)) =
            (applied.state().layers(), loaded.state().snapshot_nid())
        {
            let mut db = server.db.database.acquire().await.unwrap();
            let stored = snapshots::read_layers(&mut db, snapshot).await.unwrap();
            assert_eq!(stored.as_ref(), Some(layers));
        }
    }
}

#[tokio::test]
async fn applying_the_stream_to_the_cache_gives_what_loading_it_gives() {
    let server = server().await;
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let room = TestRoom::create(&server.db, &alice()).await;
        for _ in 0..4 {
            // In memory from here on.
            for user_id in users() {
                server.sync(&user_id, None).await;
            }
            play(&server, &room, &mut dice, 12).await;
            server
                .live
                .wait_until_applied(server.db.database.committed())
                .await;
            let restarted = server.restarted().await;
            for user_id in users() {
                compare(&server, &restarted, &user_id).await;
            }
        }
    }
}

#[tokio::test]
async fn visibility_by_history_order_equals_visibility_by_state() {
    let server = server().await;
    for seed in 10..14 {
        let room = TestRoom::create(&server.db, &alice()).await;
        play(&server, &room, &mut Dice(seed), 40).await;
        let events = stored(&server, &room).await;
        let mut db = server.db.database.acquire().await.unwrap();
        let mut before = State::new();
        for (index, event) in events.iter().enumerate() {
            let snapshot = event.snapshot_nid.unwrap();
            let state = events::state_of(&mut db, &[snapshot]).await.unwrap();
            let after: State = state.into_iter().map(|event| event.pdu).collect();
            for user_id in users() {
                let visibility = UserVisibility::load(&mut db, room.room_nid, &user_id);
                let visibility = visibility.await.unwrap();
                let joined_since = events[index..].iter().any(|later| {
                    later.pdu.membership() == Some(MembershipState::Join)
                        && later.pdu.state_key() == Some(user_id.as_str())
                });
                let contexts =
                    [&before, &after].map(|state| VisibilityContext::of(state, &user_id));
                // Own member events are always visible, as `/sync` returns them.
                let expected = visibility.is_own_membership(event)
                    || may_see(&contexts[0], &contexts[1], joined_since);
                assert_eq!(
                    visibility.may_see(event),
                    expected,
                    "{user_id} {}",
                    event.pdu.json()
                );
                let membership = visibility.membership(event.history_order);
                assert_eq!(membership, contexts[1].membership);
            }
            before = after;
        }
    }
}
