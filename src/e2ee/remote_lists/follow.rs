//! Follows who leaves rooms: what is cached of users who share no room any more is given up. Where the members
//! of a room become known, clients are told of changes that came before.

use std::{collections::BTreeSet, time::Duration};

use ruma::{OwnedUserId, events::room::member::MembershipState};
use storage::{Change, ChangeKind, UserChange, remote_device_lists};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use types::RoomNid;
use worker::{Batch, Follower, Start};

use crate::{Error, Keys};

/// How often a closed server looks whether it was opened.
const CLOSED: Duration = Duration::from_secs(5);

/// Who has left rooms.
#[derive(Default)]
struct Left {
    /// Users of other servers.
    users: BTreeSet<OwnedUserId>,
    /// The rooms that users of this server have left.
    rooms: BTreeSet<RoomNid>,
}

impl Keys {
    /// Gives up lists of users of other servers who share no room any more, until it is told to stop;
    /// of several processes one does.
    pub async fn follow_memberships(&self, stopping: CancellationToken) -> Result<(), Error> {
        let Some(follower) = stopping.run_until_cancelled(self.follower()).await else {
            return Ok(());
        };
        let mut follower = follower?;
        while let Some(batch) = stopping.run_until_cancelled(follower.next()).await {
            self.untrack(&mut follower, batch?).await?;
        }
        Ok(follower.release().await?)
    }

    /// The follower, once the server is open to others: before, nothing is cached of them.
    async fn follower(&self) -> Result<Follower, Error> {
        while self.federation.policy().is_closed() {
            sleep(CLOSED).await;
        }
        let follower = Follower::builder("remote_device_lists")
            .kinds(&[ChangeKind::State, ChangeKind::PartialState])
            .from(Start::Now)
            .exclusive()
            .build(self.database.clone());
        Ok(follower.await?)
    }

    async fn untrack(&self, follower: &mut Follower, batch: Batch) -> Result<(), Error> {
        let Left { users, rooms } = self.left(&batch);
        let has_completed = has_completed(&batch);
        if users.is_empty() && rooms.is_empty() && !has_completed {
            return Ok(follower.skip(batch).await?);
        }
        let (users, rooms): (Vec<_>, Vec<_>) =
            (users.into_iter().collect(), rooms.into_iter().collect());
        let mut tx = self.database.begin().await?;
        let own_name = &self.settings.server_name;
        let gone = remote_device_lists::untrack(&mut tx, &users, &rooms, own_name).await?;
        // The processes that have their keys in memory forget them.
        let mut changed = gone;
        if has_completed {
            let own_name = &self.settings.server_name;
            changed.extend(remote_device_lists::take_pending(&mut tx, own_name).await?);
        }
        let changes = changed.into_iter();
        let changes = changes.map(|user_id| UserChange::DeviceList { user_id });
        Ok(follower.commit_with(tx, batch, changes.collect()).await?)
    }

    fn left(&self, batch: &Batch) -> Left {
        let mut left = Left::default();
        for (_, change) in &batch.changes {
            let Change::State(delta) = change else {
                continue;
            };
            for change in &delta.changes {
                let Some((Some(MembershipState::Join), after)) = change.memberships() else {
                    continue;
                };
                let member = change.event().and_then(|pdu| pdu.state_key());
                let Some(user_id) = member.and_then(|id| OwnedUserId::try_from(id).ok()) else {
                    continue;
                };
                if after == Some(MembershipState::Join) {
                    continue;
                }
                if self.is_local(&user_id) {
                    left.rooms.insert(delta.room_nid);
                } else {
                    left.users.insert(user_id);
                }
            }
        }
        left
    }
}

/// Whether the members of a room became known.
fn has_completed(batch: &Batch) -> bool {
    let mut changes = batch.changes.iter();
    changes.any(|(_, change)| matches!(change, Change::PartialState { servers: None, .. }))
}
