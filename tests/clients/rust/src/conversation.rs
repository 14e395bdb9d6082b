//! Two people talk in an encrypted room.

use anyhow::{Context, Result, ensure};
use matrix_sdk::{
    Room,
    attachment::AttachmentConfig,
    media::{MediaFormat, MediaRequestParameters},
    room::edit::EditedContent,
    ruma::{
        EventId, OwnedEventId, OwnedRoomId, RoomId, UserId,
        api::client::room::create_room::v3::{Request as CreateRoomRequest, RoomPreset},
        events::{
            InitialStateEvent,
            reaction::ReactionEventContent,
            relation::Annotation,
            room::{
                MediaSource,
                encryption::RoomEncryptionEventContent,
                message::{
                    MessageType, Relation, RoomMessageEventContent,
                    RoomMessageEventContentWithoutRelation,
                },
            },
        },
    },
};

use crate::{
    checklist::Checklist,
    inbox::{Inbox, Seen},
    person::Person,
};

/// Alice opens an encrypted room and Bob enters it.
pub async fn open(
    alice: &mut Person,
    bob: &mut Person,
    checklist: &mut Checklist,
) -> Result<OwnedRoomId> {
    let room = checklist
        .step(
            "alice creates an encrypted room and invites bob",
            create(alice, &bob.user_id),
        )
        .await?;
    let room_id = room.room_id().to_owned();
    checklist
        .step(
            "bob sees the invite and joins",
            accept_invite(bob, &room_id),
        )
        .await?;
    let bob_id = bob.user_id.clone();
    let joined = alice.inbox.find(|seen| match seen {
        Seen::Joined { user_id } if *user_id == bob_id => Some(()),
        _ => None,
    });
    checklist.step("alice sees bob join", joined).await?;
    Ok(room_id)
}

/// They exchange messages, an edit, a reaction and a redaction.
pub async fn talk(
    alice: &mut Person,
    bob: &mut Person,
    room_id: &RoomId,
    checklist: &mut Checklist,
) -> Result<()> {
    let (alices_room, bobs_room) = (room_of(alice, room_id)?, room_of(bob, room_id)?);
    let question = checklist
        .step(
            "bob decrypts what alice wrote",
            say(&alices_room, &mut bob.inbox, &alice.user_id, "How are you?"),
        )
        .await?;
    checklist
        .step(
            "alice decrypts what bob wrote",
            say(&bobs_room, &mut alice.inbox, &bob.user_id, "Fine, and you?"),
        )
        .await?;
    checklist
        .step(
            "bob decrypts alice's edit",
            edit(&alices_room, &mut bob.inbox, &question, "How do you do?"),
        )
        .await?;
    checklist
        .step(
            "alice sees bob's reaction",
            react(&bobs_room, &mut alice.inbox, &question),
        )
        .await?;
    checklist
        .step(
            "bob sees alice's redaction",
            redact(&alices_room, &mut bob.inbox, &question),
        )
        .await?;
    checklist
        .step(
            "the redacted message is empty on the server",
            is_empty(&bobs_room, &question),
        )
        .await
}

/// Alice sends an encrypted image and Bob fetches it.
pub async fn share_image(
    alice: &mut Person,
    bob: &mut Person,
    room_id: &RoomId,
    checklist: &mut Checklist,
) -> Result<()> {
    let room = room_of(alice, room_id)?;
    let image: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let send = async {
        let data = image.clone();
        Ok(room
            .send_attachment("dots.png", &mime::IMAGE_PNG, data, AttachmentConfig::new())
            .await?
            .event_id)
    };
    let event_id = checklist
        .step("alice sends an encrypted image", send)
        .await?;
    checklist
        .step(
            "bob fetches and decrypts the image",
            fetch_image(bob, &event_id, &image),
        )
        .await
}

async fn create(person: &Person, guest: &UserId) -> Result<Room> {
    let mut request = CreateRoomRequest::new();
    request.preset = Some(RoomPreset::TrustedPrivateChat);
    request.name = Some("A quiet place".to_owned());
    request.invite = vec![guest.to_owned()];
    request.is_direct = true;
    let encryption = RoomEncryptionEventContent::with_recommended_defaults();
    request.initial_state = vec![InitialStateEvent::with_empty_state_key(encryption).to_raw_any()];
    let room = person.client.create_room(request).await?;
    ensure!(
        room.latest_encryption_state().await?.is_encrypted(),
        "the room is not encrypted"
    );
    Ok(room)
}

async fn accept_invite(person: &mut Person, expected: &RoomId) -> Result<()> {
    let invited = |seen: &Seen| match seen {
        Seen::Invited { room_id } if room_id == expected => Some(()),
        _ => None,
    };
    person.inbox.find(invited).await?;
    let room = person
        .client
        .get_room(expected)
        .context("the client does not know the room")?;
    room.join().await?;
    ensure!(
        room.latest_encryption_state().await?.is_encrypted(),
        "the room is not encrypted"
    );
    Ok(())
}

fn room_of(person: &Person, room_id: &RoomId) -> Result<Room> {
    person
        .client
        .get_room(room_id)
        .context("the client does not know the room")
}

async fn say(room: &Room, reader: &mut Inbox, writer: &UserId, text: &str) -> Result<OwnedEventId> {
    let sent = room.send(RoomMessageEventContent::text_plain(text)).await?;
    ensure!(
        sent.encryption_info.is_some(),
        "the client sent it in the clear"
    );
    let event_id = sent.response.event_id;
    let (sender, body, encrypted) = reader
        .find(|seen| match seen {
            Seen::Message {
                event_id: id,
                sender,
                content,
                encrypted,
            } if *id == event_id => Some((sender.clone(), content.body().to_owned(), *encrypted)),
            _ => None,
        })
        .await?;
    ensure!(encrypted, "it arrived in the clear");
    ensure!(
        sender == writer && body == text,
        "got {body:?} from {sender}"
    );
    Ok(event_id)
}

async fn edit(room: &Room, reader: &mut Inbox, original: &EventId, text: &str) -> Result<()> {
    let content = RoomMessageEventContentWithoutRelation::text_plain(text);
    let edit = room
        .make_edit_event(original, EditedContent::RoomMessage(content))
        .await?;
    room.send(edit).await?;
    let body = reader
        .find(|seen| match seen {
            Seen::Message {
                content,
                encrypted: true,
                ..
            } => match &content.relates_to {
                Some(Relation::Replacement(edit)) if edit.event_id == original => {
                    Some(edit.new_content.msgtype.body().to_owned())
                }
                _ => None,
            },
            _ => None,
        })
        .await?;
    ensure!(body == text, "the edit says {body:?}");
    Ok(())
}

async fn react(room: &Room, reader: &mut Inbox, message: &EventId) -> Result<()> {
    room.send(ReactionEventContent::new(Annotation::new(
        message.to_owned(),
        "👍".to_owned(),
    )))
    .await?;
    let key = reader
        .find(|seen| match seen {
            Seen::Reaction { to, key } if to == message => Some(key.clone()),
            _ => None,
        })
        .await?;
    ensure!(key == "👍", "the reaction is {key:?}");
    Ok(())
}

async fn redact(room: &Room, reader: &mut Inbox, message: &EventId) -> Result<()> {
    room.redact(message, Some("said too much"), None).await?;
    reader
        .find(|seen| match seen {
            Seen::Redaction {
                redacts: Some(redacted),
            } if redacted == message => Some(()),
            _ => None,
        })
        .await
}

async fn is_empty(room: &Room, message: &EventId) -> Result<()> {
    let event = room.event(message, None).await?;
    let content: serde_json::Value = event.raw().get_field("content")?.context("no content")?;
    ensure!(
        content == serde_json::json!({}),
        "the content is still {content}"
    );
    Ok(())
}

async fn fetch_image(person: &mut Person, sent: &EventId, image: &[u8]) -> Result<()> {
    let source = person
        .inbox
        .find(|seen| match seen {
            Seen::Message {
                event_id,
                content,
                encrypted: true,
                ..
            } if event_id == sent => match &content.msgtype {
                MessageType::Image(image) => Some(image.source.clone()),
                _ => None,
            },
            _ => None,
        })
        .await?;
    let MediaSource::Encrypted(file) = &source else {
        anyhow::bail!("the image was sent in the clear")
    };
    let stored = MediaSource::Plain(file.url.clone());
    ensure!(
        fetch(person, stored).await? != image,
        "the server stores the image in the clear"
    );
    ensure!(
        fetch(person, source).await? == image,
        "the image came back changed"
    );
    Ok(())
}

async fn fetch(person: &Person, source: MediaSource) -> Result<Vec<u8>> {
    let request = MediaRequestParameters {
        source,
        format: MediaFormat::File,
    };
    Ok(person
        .client
        .media()
        .get_media_content(&request, false)
        .await?)
}
