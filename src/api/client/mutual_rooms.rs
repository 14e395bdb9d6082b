//! Rooms that two users share.

use ruma::{UInt, api::client::membership::get_mutual_rooms};
use types::ErrorKind;

use crate::{App, Error, Matrix, Result};

/// The most rooms on a page.
const MAX_PAGE: usize = 500;

/// The rooms that the caller and another user are in.
pub(crate) async fn list(
    app: App,
    call: Matrix<get_mutual_rooms::v1::Request>,
) -> Result<get_mutual_rooms::v1::Response> {
    let get_mutual_rooms::v1::Request { user_id, from, .. } = call.request;
    let caller = call.caller.user_id();
    if user_id == caller {
        return Err(invalid("`user_id` must be another user"));
    }
    let start = match from {
        Some(from) => {
            let start = from.parse::<usize>();
            start.map_err(|_| invalid("`from` is not a page of this list"))?
        }
        None => 0,
    };
    let mut rooms = app.rooms.mutual_rooms(caller, &user_id).await?;
    let count = UInt::try_from(rooms.len()).unwrap_or(UInt::MAX);
    let end = start.saturating_add(MAX_PAGE);
    let has_more = rooms.len() > end;
    rooms.truncate(end);
    let page = rooms.split_off(start.min(rooms.len()));
    let mut response = get_mutual_rooms::v1::Response::new(count, page);
    response.next_batch = has_more.then(|| end.to_string());
    Ok(response)
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidParam, text)
}
