//! What is noticed in this process and sent to other servers without being stored first.

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

/// How many notices are worked on at once.
const BATCH: usize = 256;

/// Waits for the next notices; `None` when there will be no more or `stopping` is cancelled.
pub(crate) async fn next<T>(
    notices: &mut Receiver<T>,
    stopping: &CancellationToken,
) -> Option<Vec<T>> {
    let mut batch = Vec::new();
    let received = notices.recv_many(&mut batch, BATCH);
    stopping.run_until_cancelled(received).await?;
    (!batch.is_empty()).then_some(batch)
}
