//! The feed yields every change once, in order, whoever made it.

use storage::Change;
use types::StreamPosition;

use crate::support::{account_data, alice};

#[tokio::test]
async fn the_feed_yields_commits_of_this_process_in_order() {
    let mut test = testkit::database().await;
    for number in 0..10 {
        let set = account_data(&alice(), &format!("org.example.{number}"), "{}");
        test.committer
            .submit(set)
            .await
            .durable()
            .await
            .expect("committed");
    }
    let mut position = StreamPosition(0);
    while position < StreamPosition(10) {
        let batch = test
            .feed
            .next()
            .await
            .expect("the database")
            .expect("a batch");
        for (at, change) in &batch.changes {
            assert_eq!(at.get(), position.get() + 1);
            assert!(matches!(change, Change::AccountData(_)));
            position = *at;
        }
        assert_eq!(batch.until, position);
    }
}

#[tokio::test]
async fn the_feed_yields_commits_of_other_processes() {
    let mut here = testkit::database().await;
    let there = testkit::TestDatabase::open(here.options.clone()).await;
    let (_, listen) = here.feed.connect_cluster();
    let mut there_feed = there.feed;
    let (tell, _) = there_feed.connect_cluster();
    let committer = there.committer.clone();
    let body = async {
        committer
            .submit(account_data(&alice(), "from.there", "{}"))
            .await
            .durable()
            .await
            .expect("committed");
        there_feed
            .next()
            .await
            .expect("the database")
            .expect("its own batch");
        let batch = here
            .feed
            .next()
            .await
            .expect("the database")
            .expect("a batch");
        assert_eq!(batch.until, StreamPosition(1));
        assert!(
            matches!(&batch.changes[..], [(_, Change::AccountData(data))] if data.event_type == "from.there")
        );
    };
    tokio::select! {
        () = body => {}
        () = tell => panic!("the notifier ended"),
        () = listen => panic!("the listener ended"),
    }
}
