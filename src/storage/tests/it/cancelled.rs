//! Requests that are given up while they ask the database leave nothing behind.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use storage::Database;

/// Gives a future up after it was polled so often.
struct GivenUp<F>(Pin<Box<F>>, usize);

impl<F: Future> Future for GivenUp<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.as_mut().poll(context).is_ready() || self.1 == 0 {
            return Poll::Ready(());
        }
        self.1 -= 1;
        Poll::Pending
    }
}

#[tokio::test]
async fn a_transaction_cancelled_during_begin_is_not_left_open() {
    let options = testkit::database().await.options;
    // With one connection whatever is left behind is met again.
    let (database, _feed) = Database::open(options, 1, &testkit::server_name())
        .await
        .expect("the database opens");
    for round in 0..200 {
        GivenUp(Box::pin(database.snapshot()), round % 4).await;
        let mut db = database.acquire().await.expect("a connection");
        storage::stream::position(&mut db).await.expect("a query");
        drop(db);
        // Fails in a transaction that has run a query.
        let snapshot = database.snapshot().await.expect("a snapshot");
        snapshot.commit().await.expect("the end of it");
    }
}
