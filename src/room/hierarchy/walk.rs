//! Walking through a space for one page of its rooms.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use event::{
    RoomSummary,
    space::{SpaceChild, SpaceRoom},
};
use federation::Hierarchy;
use futures::{StreamExt as _, stream};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, UserId};
use tokio::time::{Instant, timeout_at};

use super::{HierarchyPage, token::HierarchyToken};
use crate::{
    Error, Rooms,
    summary::{Requester, summary},
};

/// The most rooms that are looked at, on all pages of a space.
const MAX_VISITED: usize = 5_000;
/// The most rooms that are still to be looked at.
const MAX_OPEN: usize = 20_000;
/// How long other servers are asked for one page.
const ASKING_TIME: Duration = Duration::from_secs(20);
/// How many rooms other servers are asked for at the same time.
const PARALLEL: usize = 8;

/// A walk from a space into the spaces in it: each room comes once, before the rooms in it.
pub(super) struct Walk<'a> {
    rooms: &'a Rooms,
    user_id: &'a UserId,
    token: HierarchyToken,
    visited: HashSet<OwnedRoomId>,
    /// The rooms to come, the next one last.
    open: Vec<Step>,
    /// The answers of servers about rooms to come.
    answers: HashMap<OwnedRoomId, Answer>,
    /// What servers have said of rooms to come when they were asked for the space.
    mentioned: HashMap<OwnedRoomId, Mentioned>,
    /// When no more servers are asked.
    deadline: Instant,
}

/// A room to come.
#[derive(Clone, Debug)]
struct Step {
    room_id: OwnedRoomId,
    via: Vec<OwnedServerName>,
    depth: u64,
}

/// What the servers of a room say of it.
enum Answer {
    Known(Arc<Hierarchy>),
    /// No server shows it, or none can be reached.
    Unknown,
    /// There was no time to ask.
    NotAsked,
}

/// What the server of a space says of a room in it.
enum Mentioned {
    /// It is no space.
    Room(Box<RoomSummary>),
    Inaccessible,
}

/// What the user may see of a room.
enum Visited {
    Shown(Box<SpaceRoom>),
    Hidden,
    /// There was no time to ask other servers.
    NotAsked,
}

impl<'a> Walk<'a> {
    pub(super) fn new(rooms: &'a Rooms, user_id: &'a UserId, token: HierarchyToken) -> Self {
        Self {
            rooms,
            user_id,
            token,
            visited: HashSet::new(),
            open: Vec::new(),
            answers: HashMap::new(),
            mentioned: HashMap::new(),
            deadline: Instant::now() + ASKING_TIME,
        }
    }

    /// The page of the token: the rooms before it are walked through again.
    pub(super) async fn page(
        mut self,
        room_id: &RoomId,
        limit: usize,
    ) -> Result<HierarchyPage, Error> {
        self.open.push(Step {
            room_id: room_id.to_owned(),
            via: self.rooms.candidates(room_id, self.user_id, &[]).await?,
            depth: 0,
        });
        let mut shown: Vec<SpaceRoom> = Vec::new();
        let mut start = self.token.last.is_none().then_some(0);
        let mut has_more = false;
        while let Some(step) = self.open.pop() {
            if self.visited.len() >= MAX_VISITED || !self.visited.insert(step.room_id.clone()) {
                continue;
            }
            match self.visit(&step).await? {
                Visited::Shown(room) => {
                    let space = (step.depth < self.token.max_depth).then_some(&*room);
                    self.expand(&step, space, limit).await?;
                    shown.push(*room);
                }
                _ if step.depth == 0 => {
                    return Err(Error::Forbidden("You are not allowed to see this room"));
                }
                Visited::Hidden => {}
                Visited::NotAsked => {
                    has_more = true;
                    break;
                }
            }
            if self.token.last.as_ref() == Some(&step.room_id) {
                start = Some(shown.len());
            }
            if start.is_some_and(|start| shown.len() > start + limit) {
                break;
            }
        }
        // The last room of the page before may be gone.
        let start = start.unwrap_or(self.token.count).min(shown.len());
        let mut rooms = shown.split_off(start);
        has_more |= rooms.len() > limit;
        rooms.truncate(limit);
        let next = has_more.then(|| self.token.after(start, &rooms).to_string());
        Ok(HierarchyPage { rooms, next })
    }

    /// What the user may see of a room: by what is known here, or else by what servers say of it.
    async fn visit(&mut self, step: &Step) -> Result<Visited, Error> {
        if let Some(answer) = self.answers.remove(&step.room_id) {
            return self.visit_remote(answer).await;
        }
        if let Some(head) = self.rooms.local_head(&step.room_id).await? {
            let summary = summary(&head);
            let requester = Requester::User(self.user_id);
            if !self.rooms.shows(&head, &summary, requester).await? {
                return Ok(Visited::Hidden);
            }
            let suggested_only = self.token.suggested_only;
            let room = self.rooms.space_room(&head, summary, suggested_only);
            return Ok(Visited::Shown(Box::new(room.await?)));
        }
        match self.mentioned.remove(&step.room_id) {
            Some(Mentioned::Room(summary)) => self.if_shown(*summary, Vec::new()).await,
            Some(Mentioned::Inaccessible) => Ok(Visited::Hidden),
            None => {
                let answer = self.ask(step).await;
                self.visit_remote(answer).await
            }
        }
    }

    async fn visit_remote(&mut self, answer: Answer) -> Result<Visited, Error> {
        let hierarchy = match answer {
            Answer::Known(hierarchy) => hierarchy,
            Answer::Unknown => return Ok(Visited::Hidden),
            Answer::NotAsked => return Ok(Visited::NotAsked),
        };
        self.remember(&hierarchy);
        let SpaceRoom { summary, children } = &hierarchy.room;
        let mut children = children.clone();
        children.retain(|child| child.suggested || !self.token.suggested_only);
        if !summary.is_space() {
            children.clear();
        }
        self.if_shown(summary.clone(), children).await
    }

    async fn if_shown(
        &self,
        summary: RoomSummary,
        children: Vec<SpaceChild>,
    ) -> Result<Visited, Error> {
        if self.rooms.shows_remote(&summary, self.user_id).await? {
            Ok(Visited::Shown(Box::new(SpaceRoom { summary, children })))
        } else {
            Ok(Visited::Hidden)
        }
    }

    /// Remembers what a server says of the rooms in a space. Of spaces it does not say which rooms
    /// are in them, so their servers are asked.
    fn remember(&mut self, hierarchy: &Hierarchy) {
        let children = hierarchy.room.children.iter();
        let children: HashSet<_> = children.map(|child| &child.room_id).collect();
        let rooms = hierarchy.children.iter().filter(|room| !room.is_space());
        let rooms = rooms.map(|room| (&room.room_id, Mentioned::Room(room.clone().into())));
        let hidden = hierarchy.inaccessible.iter();
        let hidden = hidden.map(|room_id| (room_id, Mentioned::Inaccessible));
        for (room_id, mentioned) in rooms.chain(hidden) {
            if children.contains(room_id) {
                self.mentioned.entry(room_id.clone()).or_insert(mentioned);
            }
        }
    }

    /// Puts the rooms in a space before all others to come, and asks for those of them that are not
    /// known here, as many as may be on the page.
    async fn expand(
        &mut self,
        step: &Step,
        space: Option<&SpaceRoom>,
        limit: usize,
    ) -> Result<(), Error> {
        let children = space.into_iter().flat_map(|room| &room.children);
        let children = children.filter(|child| !self.visited.contains(&child.room_id));
        let steps = children.map(|child| Step {
            room_id: child.room_id.clone(),
            via: child.via.clone(),
            depth: step.depth + 1,
        });
        let places = MAX_OPEN.saturating_sub(self.open.len());
        let steps: Vec<Step> = steps.take(places).collect();
        let mut unknown = Vec::new();
        for step in steps.iter().take(limit) {
            let is_known = self.mentioned.contains_key(&step.room_id)
                || self.answers.contains_key(&step.room_id)
                || self.rooms.local_head(&step.room_id).await?.is_some();
            if !is_known {
                unknown.push(step.clone());
            }
        }
        let walk = &*self;
        let asked = stream::iter(unknown).map(|step| walk.ask_ahead(step));
        let answers: Vec<_> = asked.buffer_unordered(PARALLEL).collect().await;
        self.answers.extend(answers);
        self.open.extend(steps.into_iter().rev());
        Ok(())
    }

    async fn ask_ahead(&self, step: Step) -> (OwnedRoomId, Answer) {
        let answer = self.ask(&step).await;
        (step.room_id, answer)
    }

    async fn ask(&self, step: &Step) -> Answer {
        let servers = step.via.iter().map(|server| &**server);
        let servers = self.rooms.0.federation.candidates(servers);
        let asked = self.rooms.ask_servers(&step.room_id, &servers);
        match timeout_at(self.deadline, asked).await {
            Ok(Some(hierarchy)) => Answer::Known(hierarchy),
            Ok(None) => Answer::Unknown,
            Err(_) => Answer::NotAsked,
        }
    }
}
