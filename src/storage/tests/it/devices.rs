//! Rows that belong to a device, and to remote users.

use ruma::{OwnedDeviceId, device_id};
use storage::devices;
use testkit::TestDatabase;

use crate::support::alice;

/// One row of each device in every table that has rows of devices.
const FILL: &str = "
    INSERT INTO users (user_id, created_ts) VALUES ('@alice:test.localhost', 0);
    INSERT INTO devices (user_id, device_id, created_ts)
        SELECT '@alice:test.localhost', d, 0 FROM UNNEST(ARRAY['PHONE', 'LAPTOP']) d;
    INSERT INTO sessions (user_id, device_id, created_ts) SELECT user_id, device_id, 0 FROM devices;
    INSERT INTO session_tokens (token_hash, session_nid, is_refresh, generation)
        SELECT decode(md5(device_id), 'hex'), session_nid, false, 1 FROM sessions;
    INSERT INTO device_keys (user_id, device_id, keys) SELECT user_id, device_id, '{}' FROM devices;
    INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key)
        SELECT user_id, device_id, 'a', 'k', '{}' FROM devices;
    INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key)
        SELECT user_id, device_id, 'a', 'k', '{}' FROM devices;
    INSERT INTO to_device (user_id, device_id, position, sender, event_type, content)
        SELECT user_id, device_id, 0, user_id, 't', '{}' FROM devices;
    INSERT INTO event_transactions (user_id, device_id, room_nid, event_type, transaction_id, event_nid, sent_ts)
        SELECT user_id, device_id, 0, 't', 't', 0, 0 FROM devices;
    INSERT INTO to_device_transactions (user_id, device_id, transaction_id, sent_ts)
        SELECT user_id, device_id, 't', 0 FROM devices;
    INSERT INTO sync_connections (user_id, device_id, conn_id, content)
        SELECT user_id, device_id, '', '{}' FROM devices;
    INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@bob:test.localhost', 'LAPTOP', 0);
    INSERT INTO dehydrated_devices (user_id, device_id, data)
        VALUES ('@alice:test.localhost', 'PHONE', '{}'), ('@bob:test.localhost', 'LAPTOP', '{}');";

/// Fails unless every table with rows of devices has some of LAPTOP and none of PHONE. What other
/// servers were told of a device stays until they are told that it is gone, and delayed events are
/// sent whatever becomes of the device that has scheduled them.
const CHECK: &str = "
    DO $$
    DECLARE
        name text;
        phones bigint;
        laptops bigint;
    BEGIN
        FOR name IN
            SELECT table_name FROM information_schema.columns
            WHERE table_schema = 'public' AND column_name IN ('user_id', 'device_id')
                AND table_name NOT IN ('published_devices', 'delayed_events')
            GROUP BY table_name HAVING count(*) = 2
        LOOP
            EXECUTE format(
                'SELECT count(*) FILTER (WHERE device_id = ''PHONE''), count(*) FILTER (WHERE device_id = ''LAPTOP'')
                 FROM %I', name
            ) INTO phones, laptops;
            ASSERT phones = 0, 'rows are left in ' || name;
            ASSERT laptops > 0, 'rows are missing in ' || name;
        END LOOP;
        ASSERT (SELECT count(*) FROM session_tokens) = 1, 'tokens are left';
    END
    $$";

async fn delete_phone(test: &TestDatabase) -> Vec<OwnedDeviceId> {
    let phone = device_id!("PHONE").to_owned();
    let mut tx = test.database.begin().await.expect("a transaction");
    let deleted = devices::delete(&mut tx, &alice(), &[phone]).await;
    tx.commit().await.expect("committed");
    deleted.expect("deleted")
}

#[tokio::test]
async fn deleted_device_leaves_no_rows() {
    let test = testkit::database().await;
    test.execute(FILL).await;
    assert_eq!(delete_phone(&test).await, [device_id!("PHONE")]);
    test.execute(CHECK).await;
}

#[tokio::test]
async fn keys_uploaded_while_their_device_is_deleted_are_deleted_with_it() {
    let test = testkit::database().await;
    test.execute(FILL).await;
    let upload = test.execute(
        "BEGIN;
         SELECT FROM devices WHERE device_id = 'PHONE' FOR KEY SHARE;
         INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key)
             VALUES ('@alice:test.localhost', 'PHONE', 'a', 'late', '{}');
         INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key)
             VALUES ('@alice:test.localhost', 'PHONE', 'b', 'late', '{}');
         DO $$
         BEGIN
             FOR attempt IN 1..6000 LOOP
                 PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
                 EXIT WHEN EXISTS (
                     SELECT FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'
                 );
             END LOOP;
             ASSERT (
                 SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'
             ) > 0, 'the deletion does not wait for the upload';
         END
         $$;
         COMMIT",
    );
    let deletion = async {
        test.execute(
            "DO $$
             BEGIN
                 FOR attempt IN 1..6000 LOOP
                     PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
                     EXIT WHEN EXISTS (
                         SELECT FROM pg_stat_activity
                         WHERE datname = current_database() AND pid <> pg_backend_pid()
                             AND wait_event = 'PgSleep'
                     );
                 END LOOP;
             END
             $$",
        )
        .await;
        delete_phone(&test).await
    };
    tokio::join!(upload, deletion);
    test.execute(CHECK).await;
}

#[tokio::test]
async fn rows_of_remote_users_can_be_stored() {
    let test = testkit::database().await;
    test.execute(
        "INSERT INTO profiles (user_id, field, value) VALUES ('@remote:elsewhere.org', 'displayname', '\"Remote\"');
         INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@remote:elsewhere.org', 'PHONE', 0);
         INSERT INTO device_keys (user_id, device_id, keys) VALUES ('@remote:elsewhere.org', 'PHONE', '{}');
         INSERT INTO device_keys (user_id, device_id, keys) VALUES ('@remote:elsewhere.org', 'UNKNOWN', '{}');
         INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key)
             VALUES ('@remote:elsewhere.org', 'UNKNOWN', 'a', 'k', '{}');
         INSERT INTO cross_signing_keys (user_id, usage, public_key, key)
             VALUES ('@remote:elsewhere.org', 'master', 'k', '{}');
         INSERT INTO media (origin, media_id, created_ts, sha256, size)
             VALUES ('elsewhere.org', 'same', 0, '', 0), ('test.localhost', 'same', 0, '', 0)",
    )
    .await;
}
