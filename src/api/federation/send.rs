//! Transactions of other servers: events of rooms, and what is not kept.
//!
//! Spec: server-server, "Transactions".

use ruma::{
    ServerName,
    api::federation::transactions::send_transaction_message::v1::{Request, Response},
};
use types::ErrorKind;

use super::edu;
use crate::{App, Error, Matrix, Result};

/// The most events in a transaction.
const MAX_PDUS: usize = 50;
/// The most EDUs in a transaction.
const MAX_EDUS: usize = 100;

/// Takes in a transaction; the answer says what became of each event. A repeated one gets the same
/// answer.
pub(crate) async fn send(app: App, call: Matrix<Request>) -> Result<Response> {
    let Request {
        transaction_id,
        origin,
        pdus,
        edus,
        ..
    } = call.request;
    let caller: &ServerName = call.caller.origin();
    if origin != *caller {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "The transaction is of another server than the request",
        ));
    }
    if pdus.len() > MAX_PDUS || edus.len() > MAX_EDUS {
        return Err(Error::new(
            ErrorKind::BadJson,
            "The transaction has more than 50 PDUs or 100 EDUs",
        ));
    }
    let results = app
        .rooms
        .receive_transaction(caller, &transaction_id, pdus)
        .await?;
    for edu in edus {
        edu::receive(&app, caller, edu).await?;
    }
    Ok(Response::new(results))
}
