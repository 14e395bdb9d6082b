//! A second device lists rooms by sliding sync, as Element X does.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{Stream, StreamExt, pin_mut};
use matrix_sdk::{
    Client, RoomState, SlidingSync, SlidingSyncList, SlidingSyncMode, UpdateSummary,
    ruma::{
        RoomId,
        api::client::sync::sync_events::v5,
        events::{StateEventType, room::message::RoomMessageEventContent},
    },
    sliding_sync::VersionBuilder,
};

use crate::{
    checklist::Checklist,
    person::{PASSWORD, Person},
};

/// Bob's second device sees the room that he shares with Alice, what she writes, and that he leaves.
pub async fn follow(
    url: &str,
    (alice, bob): (&Person, &Person),
    room_id: &RoomId,
    checklist: &mut Checklist,
) -> Result<()> {
    let client = checklist
        .step("bob's second device discovers sliding sync", log_in(url, bob))
        .await?;
    let sync = checklist
        .step("bob's second device sets up a room list", set_up(&client))
        .await?;
    let responses = sync.sync();
    pin_mut!(responses);
    checklist
        .step("the room list has the room with its state", async {
            until_updated(&mut responses, room_id).await?;
            let room = client.get_room(room_id).context("no such room")?;
            ensure!(room.state() == RoomState::Joined, "the room is not joined");
            ensure!(room.encryption_state().is_encrypted(), "the room is not encrypted");
            ensure!(room.joined_members_count() == 2, "not two members");
            Ok(())
        })
        .await?;
    checklist
        .step("the opened room brings its history", async {
            let mut opened = v5::request::RoomSubscription::default();
            opened.timeline_limit = 20_u32.into();
            opened.required_state = required_state();
            sync.subscribe_to_rooms(&[room_id], Some(opened), true);
            until_updated(&mut responses, room_id).await
        })
        .await?;
    checklist
        .step("a new message reaches the room list", async {
            let room = alice.client.get_room(room_id).context("no such room")?;
            room.send(RoomMessageEventContent::text_plain("Are you there?")).await?;
            until_updated(&mut responses, room_id).await
        })
        .await?;
    checklist
        .step("bob leaves, and his second device learns of it", async {
            let room = bob.client.get_room(room_id).context("no such room")?;
            room.leave().await?;
            let room = client.get_room(room_id).context("no such room")?;
            while room.state() != RoomState::Left {
                until_updated(&mut responses, room_id).await?;
            }
            Ok(())
        })
        .await?;
    checklist
        .step("bob's second device logs out", async {
            client.matrix_auth().logout().await?;
            Ok(())
        })
        .await
}

async fn log_in(url: &str, person: &Person) -> Result<Client> {
    let client = Client::builder()
        .homeserver_url(url)
        .sliding_sync_version_builder(VersionBuilder::DiscoverNative)
        .build()
        .await?;
    client
        .matrix_auth()
        .login_username(&person.user_id, PASSWORD)
        .initial_device_display_name("second")
        .await?;
    Ok(client)
}

async fn set_up(client: &Client) -> Result<SlidingSync> {
    let list = SlidingSyncList::builder("all_rooms")
        .sync_mode(SlidingSyncMode::new_growing(20))
        .timeline_limit(1)
        .required_state(required_state());
    let sync = client.sliding_sync("room-list")?;
    Ok(sync.with_all_extensions().add_list(list).build().await?)
}

fn required_state() -> Vec<(StateEventType, String)> {
    vec![
        (StateEventType::RoomCreate, String::new()),
        (StateEventType::RoomEncryption, String::new()),
        (StateEventType::RoomMember, "$LAZY".to_owned()),
        (StateEventType::RoomMember, "$ME".to_owned()),
    ]
}

/// Waits for a response with something of a room.
async fn until_updated(
    responses: &mut (impl Stream<Item = Result<UpdateSummary, matrix_sdk::Error>> + Unpin),
    room_id: &RoomId,
) -> Result<()> {
    while let Some(response) = responses.next().await {
        if response?.rooms.iter().any(|updated| updated == room_id) {
            return Ok(());
        }
    }
    bail!("the sync ended")
}
