//! What users see of a room whose history visibility was changed in two branches.

use live::ViewQuery;
use ruma::UserId;
use serde_json::json;

use crate::{
    remote::{Branch, Remote},
    support::{Server, alice, bob, carol},
};

const VISIBILITY: &str = "m.room.history_visibility";

/// The cached events that a user sees, by id.
async fn seen(server: &Server, user_id: &UserId) -> Vec<String> {
    let subscription = server.live.subscribe(user_id).await.expect("a user");
    let query = ViewQuery {
        since: None,
        of: &|_| true,
    };
    let view = server.live.view(&subscription, &query).await;
    let view = view.expect("a view");
    let rooms = view.rooms.values();
    rooms
        .flat_map(|room| {
            let visibility = room.visibility_for(user_id);
            let seen = room
                .timeline()
                .filter(move |event| visibility.may_see(event.event()));
            seen.map(|event| event.event().pdu.event_id().to_string())
        })
        .collect()
}

#[tokio::test]
async fn a_history_visibility_that_lost_state_resolution_reveals_nothing() {
    let (server, remote) = (Server::start().await, Remote::new());
    remote.introduce(&server).await;
    let room_id = server.room(&[&alice()]).await;
    let moderator = Remote::user("bob");
    server.receive_join(&remote, &room_id, &moderator).await;
    let levels = json!({ "users": { (moderator.as_str()): 100 } });
    let set = server
        .set(&room_id, &alice(), "m.room.power_levels", levels)
        .await;
    set.expect("the levels are set");

    let branch = Branch::of(&server, &room_id).await;
    let (mut older, mut newer) = (branch.clone(), branch);
    let place = (VISIBILITY, Some(""));
    let content = json!({ "history_visibility": "world_readable" });
    let readable = remote.event(&mut older, &moderator, place, &content);
    let message = ("m.room.message", None);
    let hello = remote.event(&mut newer, &moderator, message, &json!({ "body": "hello" }));
    // Its time is later than that of the other one, so that it wins.
    let content = json!({ "history_visibility": "joined" });
    let joined = remote.event(&mut newer, &moderator, place, &content);
    for event in [hello, joined.clone(), readable] {
        let refused = server.receive_from(&remote, &room_id, &[event]).await;
        assert!(refused.is_empty());
    }
    let current = server.state_id(&room_id, VISIBILITY, "").await;
    assert_eq!(current.as_ref(), Some(joined.event_id()));

    let secret = server.send_text(&room_id, &alice(), "secret").await;
    let secret = secret.expect("sent");
    assert!(server.read(&room_id, &carol(), &secret).await.is_err());
    server.join_room(&room_id, &bob()).await.expect("joined");
    assert!(server.read(&room_id, &bob(), &secret).await.is_err());
    server.catch_up().await;
    assert!(!seen(&server, &bob()).await.contains(&secret.to_string()));
    assert!(seen(&server, &alice()).await.contains(&secret.to_string()));
}
