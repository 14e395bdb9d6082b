//! Lists: their order, windows, filters.

use ruma::OwnedRoomId;
use serde_json::{Value, json};
use storage::{UserChange, stream::AccountData};
use sync::sliding_sync::ListFilters;
use testkit::room::{TestRoom, commit_changes};
use types::RoomNid;

use super::{Client, config, of, rooms_in};
use crate::support::{Server, alice, bob, bodies, server};

async fn create(server: &Server, rooms: usize) -> Vec<TestRoom> {
    let mut created = Vec::new();
    for _ in 0..rooms {
        created.push(TestRoom::create(&server.db, &alice()).await);
    }
    created
}

fn data(room_nid: Option<RoomNid>, event_type: &str, content: &Value) -> UserChange {
    UserChange::AccountData(AccountData {
        user_id: alice(),
        room_nid,
        event_type: event_type.to_owned(),
        content: content.to_string(),
    })
}

#[tokio::test]
async fn window_shows_the_rooms_with_the_latest_activity_and_grows() {
    let server = server().await;
    let rooms = create(&server, 4).await;
    rooms[0].message(&server.db, &alice(), "latest").await;
    let mut client = Client::new(&server, &alice()).await;
    client.list("all", (0, 1), config(1, &[]));
    let answer = client.sync(&server).await;
    assert_eq!(answer["lists"]["all"]["count"], 4);
    assert_eq!(rooms_in(&answer), 2);
    let first = of(&answer, &rooms[0]);
    assert_eq!(bodies(&first["timeline"]), ["latest"]);
    assert_eq!(
        (&first["initial"], &first["limited"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(of(&answer, &rooms[3])["initial"], true);

    client.list("all", (0, 2), config(1, &[]));
    let answer = client.sync(&server).await;
    assert_eq!(rooms_in(&answer), 1);
    assert_eq!(of(&answer, &rooms[2])["initial"], true);
    // A list without ranges has all rooms, and one without any range none.
    let list = client.request.lists.get_mut("all").unwrap();
    list.ranges = Some(Vec::new());
    let answer = client.peek(&server).await;
    assert_eq!(
        (rooms_in(&answer), &answer["lists"]["all"]["count"]),
        (0, &json!(4))
    );
    client.request.lists.get_mut("all").unwrap().ranges = None;
    assert_eq!(rooms_in(&client.sync(&server).await), 1);
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
}

#[tokio::test]
async fn what_happened_outside_of_the_window_comes_with_the_room() {
    let server = server().await;
    let rooms = create(&server, 2).await;
    let mut client = Client::new(&server, &alice()).await;
    client.list("all", (0, 0), config(10, &[]));
    let answer = client.sync(&server).await;
    assert_eq!(of(&answer, &rooms[1])["initial"], true);
    rooms[1].message(&server.db, &alice(), "missed").await;
    rooms[0].message(&server.db, &alice(), "on top").await;
    let answer = client.sync(&server).await;
    assert_eq!(rooms_in(&answer), 1);
    assert_eq!(bodies(&of(&answer, &rooms[0])["timeline"]), ["on top"]);
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
    rooms[1].message(&server.db, &alice(), "seen").await;
    let answer = client.sync(&server).await;
    let room = of(&answer, &rooms[1]);
    assert_eq!(bodies(&room["timeline"]), ["missed", "seen"]);
    assert!(room.get("initial").is_none());
    // Only what came since the last response is live.
    assert_eq!(room["num_live"], 1);
    assert_eq!(rooms_in(&client.sync(&server).await), 0);
}

#[tokio::test]
async fn filters_select_rooms() {
    let server = server().await;
    let rooms = create(&server, 4).await;
    let [plain, encrypted, direct, space] = &rooms[..] else {
        unreachable!("four rooms");
    };
    let algorithm = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    encrypted
        .state(&server.db, &alice(), "m.room.encryption", "", algorithm)
        .await;
    let via = json!({ "via": ["test.localhost"] });
    space
        .state(
            &server.db,
            &alice(),
            "m.space.child",
            plain.room_id.as_str(),
            via,
        )
        .await;
    let gone = json!({});
    space
        .state(
            &server.db,
            &alice(),
            "m.space.child",
            direct.room_id.as_str(),
            gone,
        )
        .await;
    let invited = TestRoom::create(&server.db, &bob()).await;
    invited.member(&server.db, &bob(), &alice(), "invite").await;
    let tag = json!({ "tags": { "m.favourite": {} } });
    commit_changes(
        &server.db,
        [
            data(
                None,
                "m.direct",
                &json!({ bob().as_str(): [direct.room_id] }),
            ),
            data(Some(plain.room_nid), "m.tag", &tag),
        ],
    )
    .await;
    for (filters, expected) in filter_cases(&rooms, &invited) {
        let mut client = Client::of_all_rooms(&server, &alice()).await;
        client.request.lists.get_mut("all").unwrap().filters = filters.clone();
        let answer = client.peek(&server).await;
        assert_eq!(
            answer["lists"]["all"]["count"],
            expected.len(),
            "{filters:?}"
        );
        assert_eq!(rooms_in(&answer), expected.len(), "{filters:?}");
        for room in expected {
            assert!(!of(&answer, room).is_null(), "{filters:?}");
        }
    }
}

/// Filters of a list, and the rooms that they leave.
fn filter_cases<'r>(
    rooms: &'r [TestRoom],
    invited: &'r TestRoom,
) -> Vec<(ListFilters, Vec<&'r TestRoom>)> {
    let [plain, encrypted, direct, space] = rooms else {
        unreachable!("four rooms");
    };
    let favourite = || vec!["m.favourite".to_owned()];
    let all = ListFilters::default;
    let spaces = |space: &OwnedRoomId| ListFilters {
        spaces: Some(vec![space.clone()]),
        ..all()
    };
    let direct_chats = ListFilters {
        is_dm: Some(true),
        ..all()
    };
    let invitations = ListFilters {
        is_invited: Some(true),
        ..all()
    };
    let of_types = |room_types| ListFilters {
        room_types: Some(room_types),
        ..all()
    };
    vec![
        (direct_chats, vec![direct]),
        (
            ListFilters {
                is_encrypted: Some(true),
                ..all()
            },
            vec![encrypted],
        ),
        (invitations, vec![invited]),
        (
            ListFilters {
                tags: Some(favourite()),
                ..all()
            },
            vec![plain],
        ),
        (spaces(&space.room_id), vec![plain]),
        // Not a room that the user is joined to.
        (spaces(&invited.room_id), vec![]),
        (of_types(vec![Some("m.space".to_owned())]), vec![]),
        (
            ListFilters {
                is_dm: Some(false),
                is_encrypted: Some(false),
                is_invited: Some(false),
                room_types: Some(vec![None]),
                not_tags: favourite(),
                ..all()
            },
            vec![space],
        ),
        (
            ListFilters {
                not_room_types: vec![None],
                ..all()
            },
            vec![],
        ),
    ]
}

#[tokio::test]
async fn lists_follow_what_they_are_filtered_by() {
    let server = server().await;
    let rooms = create(&server, 2).await;
    let mut client = Client::of_all_rooms(&server, &alice()).await;
    client.list("direct", (0, 9), config(1, &[]));
    client
        .request
        .lists
        .get_mut("direct")
        .unwrap()
        .filters
        .is_dm = Some(true);
    let answer = client.sync(&server).await;
    assert_eq!(answer["lists"]["direct"]["count"], 0);
    assert!(of(&answer, &rooms[0]).get("is_dm").is_none());
    let direct = json!({ bob().as_str(): [rooms[0].room_id] });
    commit_changes(&server.db, [data(None, "m.direct", &direct)]).await;
    let answer = client.sync(&server).await;
    assert_eq!(answer["lists"]["direct"]["count"], 1);
    assert_eq!(rooms_in(&answer), 1);
    assert_eq!(of(&answer, &rooms[0])["is_dm"], true);
    commit_changes(&server.db, [data(None, "m.direct", &json!({}))]).await;
    let answer = client.sync(&server).await;
    assert_eq!(of(&answer, &rooms[0])["is_dm"], false);
    assert_eq!(rooms_in(&client.sync(&server).await), 0);

    // The encryption of a room is known without reading the room again.
    client.request.lists.get_mut("direct").unwrap().filters = ListFilters {
        is_encrypted: Some(true),
        ..ListFilters::default()
    };
    assert_eq!(client.sync(&server).await["lists"]["direct"]["count"], 0);
    let algorithm = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    rooms[1]
        .state(&server.db, &alice(), "m.room.encryption", "", algorithm)
        .await;
    assert_eq!(client.sync(&server).await["lists"]["direct"]["count"], 1);
}

#[tokio::test]
async fn the_most_demanding_rule_counts() {
    let server = server().await;
    let rooms = create(&server, 2).await;
    for n in 0..5 {
        rooms[0].message(&server.db, &alice(), &n.to_string()).await;
    }
    let mut client = Client::new(&server, &alice()).await;
    client.list("few", (0, 9), config(1, &[("m.room.create", "")]));
    client.list("top", (0, 0), config(3, &[("m.room.join_rules", "")]));
    let answer = client.sync(&server).await;
    let room = of(&answer, &rooms[0]);
    assert_eq!(bodies(&room["timeline"]), ["2", "3", "4"]);
    let keys = [("m.room.create", ""), ("m.room.join_rules", "")];
    assert_eq!(super::state_keys(room), keys);
    assert_eq!(super::state_keys(of(&answer, &rooms[1])), keys[..1]);
}
