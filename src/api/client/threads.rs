//! The threads of a room.

use room::ThreadsQuery;
use ruma::api::client::threads::get_threads::v1::{IncludeThreads, Request};
use types::{ErrorKind, PageToken};

use super::reader;
use crate::{App, Error, Matrix, Result, json::RawJson};

/// The default page size.
const DEFAULT_LIMIT: usize = 20;

/// Lists the threads of a room.
pub(crate) async fn list(app: App, call: Matrix<Request>) -> Result<RawJson> {
    let Request {
        room_id,
        from,
        include,
        limit,
        ..
    } = call.request;
    let participated = match include {
        IncludeThreads::All => false,
        IncludeThreads::Participated => true,
        _ => return Err(invalid("`include` must be all or participated")),
    };
    let limit = limit.map_or(DEFAULT_LIMIT, |limit| {
        usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
    });
    if limit == 0 {
        return Err(invalid("`limit` must be greater than 0"));
    }
    let query = ThreadsQuery {
        from: from.as_deref().map(str::parse::<PageToken>).transpose()?,
        limit,
        participated,
    };
    let reader = reader(&call.caller);
    Ok(app.rooms.threads(&room_id, reader, query).await?.into())
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidParam, text)
}
