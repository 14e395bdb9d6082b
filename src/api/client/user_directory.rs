//! Searching for users.

use identity::DirectoryEntry;
use ruma::{
    OwnedMxcUri,
    api::client::user_directory::search_users::v3::{Request, Response, User},
};

use crate::{App, Matrix, Result};

/// Returns users whose id or name has words that begin like those of the term.
pub(crate) async fn search(app: App, call: Matrix<Request>) -> Result<Response> {
    let Request {
        search_term, limit, ..
    } = call.request;
    let limit = usize::try_from(u64::from(limit)).unwrap_or(usize::MAX);
    let caller = call.caller.user_id();
    let found = app.identity.search_users(caller, &search_term, limit);
    let (users, limited) = found.await?;
    Ok(Response::new(
        users.into_iter().map(user).collect(),
        limited,
    ))
}

fn user(entry: DirectoryEntry) -> User {
    let mut user = User::new(entry.user_id);
    user.display_name = entry.display_name;
    // Users of other servers set what they like.
    let avatar_url = entry.avatar_url.map(OwnedMxcUri::from);
    user.avatar_url = avatar_url.filter(|url| url.is_valid());
    user
}
