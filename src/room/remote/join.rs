//! Joining rooms through other servers.

use std::sync::Arc;

use event::{Pdu, Verdict, handshake::merge_signatures};
use ruma::{OwnedServerName, RoomId, ServerName, events::room::member::MembershipState};
use serde_json::{Map, Value};

use super::{OwnMembership, import::Import};
use crate::{
    Error, Profile, Rooms, Sender, append::received::Outcome, head::Head, outliers::RoomIdentity,
    state::AUTHORISED_VIA,
};

impl Rooms {
    /// Joins a room: here if this server takes part in it, else through one of the servers `via`,
    /// that of the inviter or that of the room's id. Joining again is no error and adds no event.
    #[tracing::instrument(name = "room.join_via", skip_all, fields(room.id = %room_id), err(level = "debug"))]
    pub async fn join_via(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        profile: Profile,
        mut content: Map<String, Value>,
        via: &[OwnedServerName],
    ) -> Result<(), Error> {
        let refusal = if self.decides_on_join(room_id, &sender.user_id).await? {
            let joined = self.join(room_id, sender, profile.clone(), content.clone());
            match joined.await {
                // Another server may know more of the rooms whose members may join, or have a member
                // who may vouch for them.
                Err(Error::JoinNotGranted | Error::CannotGrantJoin) => Error::JoinNotGranted,
                joined => return joined,
            }
        } else {
            Error::UnknownRoom
        };
        let candidates = self.candidates(room_id, &sender.user_id, via).await?;
        if candidates.is_empty() {
            return Err(refusal);
        }
        self.check_room_limit(&sender.user_id).await?;
        for ours in ["membership", "displayname", "avatar_url", AUTHORISED_VIA] {
            content.remove(ours);
        }
        let join = OwnMembership {
            room_id,
            user_id: &sender.user_id,
            membership: "join",
            profile: &profile,
            extra: &content,
        };
        self.join_through_any(join, &candidates, refusal).await
    }

    /// Whether this server knows enough of a room that it takes part in to let a user in: while parts
    /// of the state are not known, it does not know who is banned or invited.
    async fn decides_on_join(
        &self,
        room_id: &RoomId,
        user_id: &ruma::UserId,
    ) -> Result<bool, Error> {
        let head = match self.head(room_id).await {
            Ok(head) => head,
            Err(Error::UnknownRoom) => return Ok(false),
            Err(error) => return Err(error),
        };
        let is_joined = head.state.membership(user_id) == MembershipState::Join;
        Ok(self.takes_part_in(Some(&head)) && (is_joined || !head.state.is_partial()))
    }

    /// `refusal` is what this server says itself.
    async fn join_through_any(
        &self,
        join: OwnMembership<'_>,
        candidates: &[OwnedServerName],
        refusal: Error,
    ) -> Result<(), Error> {
        let lock = self.0.remote_joins.of(join.room_id);
        let _joining = lock.lock().await;
        if let Ok(head) = self.head(join.room_id).await
            && self.takes_part(join.room_id).await?
            && head.state.membership(join.user_id) == MembershipState::Join
        {
            // While this request waited for the room.
            return Ok(());
        }
        let mut failures = vec![refusal];
        for server in candidates {
            match self.join_through(join, server).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::info!(room.id = %join.room_id, server.name = %server, %error, "A join through another server failed");
                    failures.push(error);
                }
            }
        }
        Err(most_specific(failures))
    }

    async fn join_through(
        &self,
        join: OwnMembership<'_>,
        server: &ServerName,
    ) -> Result<(), Error> {
        let federation = &self.0.federation;
        let template = federation
            .make_join(server, join.room_id, join.user_id)
            .await?;
        let (version, event) = self.complete(join, &template)?;
        let joined = federation.send_join(server, &event).await?;
        // With the signature of the server that vouches for the user.
        let signed = joined
            .event
            .map(|copy| merge_signatures(&event, copy.get(), &version));
        let signed = signed.transpose()?;
        let join_event = Arc::new(signed.unwrap_or(event));
        match self.head(join.room_id).await {
            Ok(head) if self.is_resident(&head) => {
                return self.follow_join(server, &head, &join_event).await;
            }
            Ok(_) | Err(Error::UnknownRoom) => {}
            Err(error) => return Err(error),
        }
        self.import(Import {
            version,
            join: join_event,
            state: joined.state,
            auth_chain: joined.auth_chain,
            partial: joined.servers.map(|servers| (server.to_owned(), servers)),
        })
        .await
    }
}

impl Rooms {
    /// Adds a join that another server has taken in to a room that this server is in, too.
    async fn follow_join(
        &self,
        server: &ServerName,
        head: &Head,
        join: &Arc<Pdu>,
    ) -> Result<(), Error> {
        let room = RoomIdentity::of(head);
        let verified = self.verify_event(&room, join).await?;
        let verified = verified.into_iter().collect();
        let mut added = self.add_with_missing(server, &room, head, verified).await?;
        match added.remove(join.event_id()) {
            Some(Outcome::Stored(Verdict::Accepted)) => Ok(()),
            Some(Outcome::Stored(_) | Outcome::Denied(_)) => {
                Err(Error::InvalidRoom("its rules do not allow the join here"))
            }
            Some(Outcome::Unconnected) => Err(Error::InvalidRoom(
                "the events before the join are not known",
            )),
            Some(Outcome::Dropped(reason)) => Err(Error::InvalidRoom(reason)),
            None => Err(Error::InvalidRoom("the join is not signed as it must be")),
        }
    }
}

/// Of what several servers said, that which tells the user most: a refusal rather than that a server
/// was not reached.
pub(super) fn most_specific(failures: Vec<Error>) -> Error {
    let rank = |error: &Error| match error {
        Error::JoinNotGranted
        | Error::Federation(federation::Error::Remote { status: 403, .. }) => 0,
        Error::Federation(federation::Error::Remote {
            status: 400..=499, ..
        }) => 1,
        Error::Federation(_) => 3,
        Error::UnknownRoom => 4,
        _ => 2,
    };
    let first = failures.into_iter().min_by_key(rank);
    first.unwrap_or(Error::UnknownRoom)
}
