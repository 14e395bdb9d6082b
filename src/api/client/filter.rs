//! Stored filters.

use ruma::api::client::filter::{create_filter, get_filter};
use types::ErrorKind;

use crate::{App, Error, Matrix, Result, client::check_is_caller, json::RawJson};

/// Stores a filter.
pub(crate) async fn create(
    app: App,
    call: Matrix<create_filter::v3::Request>,
) -> Result<create_filter::v3::Response> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    // Stored as it was sent: it may contain fields that this server does not support.
    let text = std::str::from_utf8(&call.body)
        .map_err(|_| Error::new(ErrorKind::NotJson, "The body is not UTF-8"))?;
    let content = if text.is_empty() { "{}" } else { text };
    let filter_id = app
        .identity
        .store_filter(&call.request.user_id, content)
        .await?;
    Ok(create_filter::v3::Response::new(filter_id))
}

/// Returns a filter.
pub(crate) async fn one(app: App, call: Matrix<get_filter::v3::Request>) -> Result<RawJson> {
    check_is_caller(&call.caller, &call.request.user_id)?;
    let (user_id, filter_id) = (&call.request.user_id, &call.request.filter_id);
    Ok(app.identity.filter(user_id, filter_id).await?.into())
}
