//! Aliases and the public room directory.

use room::{CreateRoom, DirectoryQuery, Error, Profile};
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, UserId};
use serde_json::json;
use types::{Admin, ErrorKind};

use crate::support::{Server, alice, bob, carol, error_kind, public, sender, user};

fn alias(name: &str) -> OwnedRoomAliasId {
    RoomAliasId::parse(format!("#{name}:test.localhost")).expect("an alias")
}

async fn listed(server: &Server, creator: &UserId, name: &str, members: usize) -> OwnedRoomId {
    let request = CreateRoom {
        in_directory: true,
        name: Some(name.to_owned()),
        ..public()
    };
    let room_id = server
        .create(&sender(creator), Profile::default(), request)
        .await
        .expect("made");
    for number in 1..members {
        server
            .join_room(&room_id, &user(&format!("member{number}")))
            .await
            .expect("joined");
    }
    room_id
}

#[tokio::test]
async fn an_alias_is_made_once_by_a_member() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    let other = server.room(&[&carol()]).await;
    let stranger = server
        .create_alias(&room_id, &sender(&carol()), &alias("plaza"))
        .await;
    assert_eq!(error_kind(stranger), ErrorKind::Forbidden);
    server
        .create_alias(&room_id, &sender(&bob()), &alias("plaza"))
        .await
        .expect("made");
    let taken = server
        .create_alias(&other, &sender(&carol()), &alias("plaza"))
        .await;
    assert!(matches!(taken, Err(Error::AliasTaken(_))));
    assert_eq!(
        server.resolve_alias(&alias("plaza")).await.expect("found"),
        room_id
    );
    let foreign = RoomAliasId::parse("#plaza:elsewhere.example").expect("an alias");
    let foreign = server
        .create_alias(&room_id, &sender(&alice()), &foreign)
        .await;
    assert!(matches!(foreign, Err(Error::Remote(_))));
}

#[tokio::test]
async fn an_alias_is_removed_by_its_maker_a_moderator_or_an_administrator() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob(), &carol()]).await;
    for name in ["one", "two", "three"] {
        server
            .create_alias(&room_id, &sender(&bob()), &alias(name))
            .await
            .expect("made");
    }
    let denied = server
        .delete_alias(&sender(&carol()), &alias("one"), None)
        .await;
    assert_eq!(error_kind(denied), ErrorKind::Forbidden);
    server
        .delete_alias(&sender(&bob()), &alias("one"), None)
        .await
        .expect("its maker");
    server
        .delete_alias(&sender(&alice()), &alias("two"), None)
        .await
        .expect("a moderator");
    server
        .delete_alias(
            &sender(&carol()),
            &alias("three"),
            Some(&Admin::grant(carol())),
        )
        .await
        .expect("an administrator");
    let gone = server.resolve_alias(&alias("one")).await;
    assert!(matches!(gone, Err(Error::UnknownAlias)));
    let gone = server
        .delete_alias(&sender(&bob()), &alias("one"), None)
        .await;
    assert!(matches!(gone, Err(Error::UnknownAlias)));
    assert!(
        server
            .aliases(&room_id, &alice())
            .await
            .expect("aliases")
            .is_empty()
    );
}

#[tokio::test]
async fn the_canonical_alias_must_point_to_the_room() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    let other = server.room(&[&alice()]).await;
    server
        .create_alias(&room_id, &sender(&alice()), &alias("here"))
        .await
        .expect("made");
    server
        .create_alias(&other, &sender(&alice()), &alias("there"))
        .await
        .expect("made");
    for name in ["there", "nowhere"] {
        for content in [
            json!({ "alias": alias(name) }),
            json!({ "alt_aliases": [alias("here"), alias(name)] }),
        ] {
            let result = server
                .set(&room_id, &alice(), "m.room.canonical_alias", content)
                .await;
            assert_eq!(error_kind(result), ErrorKind::BadAlias);
        }
    }
    let malformed = json!({ "alias": "plaza" });
    let result = server
        .set(&room_id, &alice(), "m.room.canonical_alias", malformed)
        .await;
    assert_eq!(error_kind(result), ErrorKind::InvalidParam);
    let content = json!({ "alias": alias("here"), "alt_aliases": [alias("here")] });
    server
        .set(&room_id, &alice(), "m.room.canonical_alias", content)
        .await
        .expect("set");
}

#[tokio::test]
async fn a_removed_alias_leaves_the_canonical_alias_event() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    for name in ["here", "also"] {
        server
            .create_alias(&room_id, &sender(&alice()), &alias(name))
            .await
            .expect("made");
    }
    let content = json!({ "alias": alias("here"), "alt_aliases": [alias("here"), alias("also")] });
    server
        .set(&room_id, &alice(), "m.room.canonical_alias", content)
        .await
        .expect("set");
    server
        .delete_alias(&sender(&alice()), &alias("here"), None)
        .await
        .expect("removed");
    let content = server
        .content(&room_id, &alice(), "m.room.canonical_alias", "")
        .await
        .expect("state");
    assert_eq!(content, json!({ "alt_aliases": [alias("also")] }));
}

#[tokio::test]
async fn aliases_are_visible_to_members_and_in_world_readable_rooms() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice()]).await;
    server
        .create_alias(&room_id, &sender(&alice()), &alias("b"))
        .await
        .expect("made");
    server
        .create_alias(&room_id, &sender(&alice()), &alias("a"))
        .await
        .expect("made");
    let aliases = server.aliases(&room_id, &alice()).await.expect("aliases");
    assert_eq!(aliases, [alias("a"), alias("b")]);
    assert_eq!(
        error_kind(server.aliases(&room_id, &bob()).await),
        ErrorKind::Forbidden
    );
    let open = json!({ "history_visibility": "world_readable" });
    server
        .set(&room_id, &alice(), "m.room.history_visibility", open)
        .await
        .expect("set");
    assert_eq!(
        server
            .aliases(&room_id, &bob())
            .await
            .expect("aliases")
            .len(),
        2
    );
}

#[tokio::test]
async fn the_directory_lists_the_largest_rooms_first_page_by_page() {
    let server = Server::start().await;
    let small = listed(&server, &alice(), "Small", 1).await;
    let large = listed(&server, &alice(), "Large", 3).await;
    let middle = listed(&server, &alice(), "Middle", 2).await;
    server.room(&[&alice()]).await;
    let mut query = DirectoryQuery {
        limit: Some(2),
        ..DirectoryQuery::default()
    };
    let first = server.directory(&query).await.expect("a page");
    let ids: Vec<_> = first.rooms.iter().map(|room| &room.room_id).collect();
    assert_eq!(ids, [&large, &middle]);
    assert_eq!((first.total, first.previous), (3, None));
    assert_eq!(first.rooms[0].joined_members, 3);
    assert_eq!(first.rooms[0].join_rule.as_deref(), Some("public"));
    assert!(!first.rooms[0].world_readable && !first.rooms[0].guest_can_join);
    query.from = first.next;
    let second = server.directory(&query).await.expect("a page");
    let ids: Vec<_> = second.rooms.iter().map(|room| &room.room_id).collect();
    assert_eq!(ids, [&small]);
    assert_eq!(second.next, None);
    query.from = second.previous;
    let back = server.directory(&query).await.expect("a page");
    assert_eq!(back.rooms[0].room_id, large);
    query.from = Some("elsewhere".to_owned());
    assert_eq!(
        error_kind(server.directory(&query).await),
        ErrorKind::InvalidParam
    );
}

#[tokio::test]
async fn the_directory_is_searched_by_name_in_any_case_and_by_type() {
    let server = Server::start().await;
    let plaza = listed(&server, &alice(), "The Plaza", 1).await;
    listed(&server, &alice(), "Backyard", 1).await;
    let space = CreateRoom {
        in_directory: true,
        creation_content: serde_json::Map::from_iter([("type".to_owned(), "m.space".into())]),
        ..public()
    };
    let space = server
        .create(&sender(&alice()), Profile::default(), space)
        .await
        .expect("made");
    let find = async |query: DirectoryQuery| {
        let page = server.directory(&query).await.expect("a page");
        let ids = page.rooms.into_iter().map(|room| room.room_id);
        ids.collect::<Vec<_>>()
    };
    let by_name = DirectoryQuery {
        search: Some("pLaZa".to_owned()),
        ..DirectoryQuery::default()
    };
    assert_eq!(find(by_name).await, [plaza]);
    let of_type = |room_type: Option<&str>| DirectoryQuery {
        room_types: Some(vec![room_type.map(ToOwned::to_owned)]),
        ..DirectoryQuery::default()
    };
    assert_eq!(find(of_type(Some("m.space"))).await, [space]);
    assert_eq!(find(of_type(None)).await.len(), 2);
}

#[tokio::test]
async fn users_who_may_set_the_canonical_alias_may_list_the_room() {
    let server = Server::start().await;
    let room_id = server.room(&[&alice(), &bob()]).await;
    for user in [bob(), carol()] {
        let result = server
            .set_in_directory(&room_id, &sender(&user), true, None)
            .await;
        assert_eq!(error_kind(result), ErrorKind::Forbidden);
    }
    server
        .set_in_directory(&room_id, &sender(&alice()), true, None)
        .await
        .expect("listed");
    assert!(server.is_in_directory(&room_id).await.expect("known"));
    server
        .set_in_directory(&room_id, &sender(&alice()), false, None)
        .await
        .expect("taken off");
    assert!(!server.is_in_directory(&room_id).await.expect("known"));
    let admin = Admin::grant(carol());
    server
        .set_in_directory(&room_id, &sender(&carol()), true, Some(&admin))
        .await
        .expect("listed by an administrator");
}
