//! Read receipts and read markers.

use room::{ReadUpTo, ReceiptKind};
use ruma::{
    api::client::{
        read_marker::set_read_marker,
        receipt::create_receipt::{self, v3::ReceiptType},
    },
    events::receipt::ReceiptThread,
};
use types::ErrorKind;

use super::{record_activity, sender};
use crate::{App, Error, Matrix, Result};

/// Sets a receipt of the user.
pub(crate) async fn create(
    app: App,
    call: Matrix<create_receipt::v3::Request>,
) -> Result<create_receipt::v3::Response> {
    let create_receipt::v3::Request {
        room_id,
        receipt_type,
        event_id,
        thread,
        ..
    } = call.request;
    let thread_id = thread_id(&thread)?;
    let kind = match receipt_type {
        ReceiptType::Read => ReceiptKind::Public { thread_id },
        ReceiptType::ReadPrivate => ReceiptKind::Private { thread_id },
        ReceiptType::FullyRead if thread_id.is_none() => ReceiptKind::FullyRead,
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidParam,
                "There is no such receipt",
            ));
        }
    };
    let mark = ReadUpTo {
        event_id: &event_id,
        kind,
    };
    app.rooms
        .set_receipts(&room_id, &sender(&call.caller), &[mark])
        .await?;
    record_activity(&app, &call.caller);
    Ok(create_receipt::v3::Response::new())
}

/// Sets the fully-read marker and receipts.
pub(crate) async fn set_markers(
    app: App,
    call: Matrix<set_read_marker::v3::Request>,
) -> Result<set_read_marker::v3::Response> {
    let request = &call.request;
    let marks: Vec<_> = [
        (&request.fully_read, ReceiptKind::FullyRead),
        (
            &request.read_receipt,
            ReceiptKind::Public { thread_id: None },
        ),
        (
            &request.private_read_receipt,
            ReceiptKind::Private { thread_id: None },
        ),
    ]
    .into_iter()
    .filter_map(|(event_id, kind)| {
        event_id
            .as_deref()
            .map(|event_id| ReadUpTo { event_id, kind })
    })
    .collect();
    app.rooms
        .set_receipts(&request.room_id, &sender(&call.caller), &marks)
        .await?;
    record_activity(&app, &call.caller);
    Ok(set_read_marker::v3::Response::new())
}

/// Spec: client-server, "Threaded read receipts".
fn thread_id(thread: &ReceiptThread) -> Result<Option<String>> {
    match thread {
        ReceiptThread::Unthreaded => Ok(None),
        ReceiptThread::Main => Ok(Some("main".to_owned())),
        ReceiptThread::Thread(root) => Ok(Some(root.to_string())),
        _ => Err(Error::new(
            ErrorKind::InvalidParam,
            "`thread_id` is not a thread",
        )),
    }
}
