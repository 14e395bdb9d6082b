//! Sending transactions to other servers.
//!
//! Spec: server-server, "Transactions".

use std::{collections::BTreeMap, time::Duration};

use ruma::{
    OwnedEventId, ServerName, api::federation::transactions::send_transaction_message::v1::Request,
    serde::Raw,
};
use serde_json::value::RawValue;

use crate::{Federation, Result, client::Limits};

/// The other server answers when it has worked through the transaction.
const TRANSACTION: Limits = Limits {
    timeout: Duration::from_mins(1),
    max_body: 128 * 1024,
};

impl Federation {
    /// Sends a transaction; returns what the server says of each event. It can be repeated under
    /// the same id.
    pub async fn send_transaction(
        &self,
        destination: &ServerName,
        transaction_id: &str,
        pdus: Vec<Box<RawValue>>,
        edus: Vec<Box<RawValue>>,
    ) -> Result<BTreeMap<OwnedEventId, Result<(), String>>> {
        let inner = self.inner();
        let origin = inner.server_name.clone();
        let mut request = Request::new(transaction_id.into(), origin, inner.clock.now());
        request.pdus = pdus;
        request.edus = edus.into_iter().map(Raw::from_json).collect();
        let response = self.request(destination, request, TRANSACTION).await?;
        Ok(response.pdus)
    }
}
