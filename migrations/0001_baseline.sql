-- The whole schema up to the first release. A nid (numeric id) is a small integer in place of a long
-- Matrix identifier.

-- The name of this server, and its signing keys.
CREATE TABLE server (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    server_name text NOT NULL
);

CREATE TABLE signing_keys (
    key_version text PRIMARY KEY,
    private_der bytea NOT NULL,
    created_ts bigint NOT NULL,
    expired_ts bigint
);

-- Signing keys of other servers, with the time until which each is valid.
CREATE TABLE server_keys (
    server_name text NOT NULL,
    key_id text NOT NULL,
    -- Unpadded base64.
    public_key text NOT NULL,
    valid_until_ts bigint NOT NULL,
    -- The server signs no requests with it any more.
    is_old boolean NOT NULL,
    PRIMARY KEY (server_name, key_id)
);

-- The last key response of other servers, as they signed it.
CREATE TABLE server_key_responses (
    server_name text PRIMARY KEY,
    response text NOT NULL,
    fetched_ts bigint NOT NULL,
    valid_until_ts bigint NOT NULL
);

-- The one stream. Its row lock is held from the assignment of positions until commit, so positions
-- are gapless and become visible in order.
CREATE TABLE stream (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO stream (position) VALUES (0);

-- The stream positions of followers.
CREATE TABLE cursors (
    follower text PRIMARY KEY,
    position bigint NOT NULL
);

-- Processes that hold an advisory lock on their number while they are connected: those that do not any
-- more are gone.
CREATE TABLE processes (
    number bigint PRIMARY KEY
);

-- Which process may do what only one may do at a time, by the clock of the database.
CREATE TABLE leases (
    name text PRIMARY KEY,
    holder bigint NOT NULL,
    -- Counts the holders: who writes compares it.
    token bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Work that survives the process that does it.
CREATE TABLE jobs (
    job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    key text NOT NULL,
    -- 0 waiting, 1 running, 2 done, 3 cancelled, 4 failed.
    state smallint NOT NULL DEFAULT 0,
    -- JSON.
    arguments text NOT NULL,
    progress text,
    run_at timestamptz NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    error text,
    cancel_requested boolean NOT NULL DEFAULT false,
    -- The process that works on it, and until when it is taken to live.
    holder bigint,
    token bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz
);
CREATE UNIQUE INDEX jobs_unfinished ON jobs (name, key) WHERE state < 2;
CREATE INDEX jobs_due ON jobs (run_at) WHERE state < 2;

-- Nids are allocated in blocks, so that a write needs no round trip for them.
CREATE SEQUENCE nids INCREMENT BY 1024 MINVALUE 1024 START WITH 1024;

CREATE TABLE rooms (
    room_nid bigint PRIMARY KEY,
    room_id text NOT NULL UNIQUE,
    -- Null: only an invitation or a knock is known, not the room.
    version text,
    creator text,
    -- 0 active, 1 only invited to or knocked at.
    status smallint NOT NULL DEFAULT 0,
    in_directory boolean NOT NULL DEFAULT false
);
CREATE INDEX rooms_directory ON rooms (room_nid) WHERE in_directory;

-- Where a room's graph ends. Compared and swapped by every write: guards it between processes.
CREATE TABLE room_heads (
    room_nid bigint PRIMARY KEY REFERENCES rooms,
    revision bigint NOT NULL,
    extremities bigint[] NOT NULL,
    depth bigint NOT NULL,
    snapshot_nid bigint NOT NULL,
    -- The process that wrote this revision.
    writer bigint NOT NULL
) WITH (fillfactor = 70);

-- Text of events is stored with U+0000 escaped (storage/escape.rs).
CREATE TABLE events (
    event_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL REFERENCES rooms,
    event_id text NOT NULL UNIQUE,
    -- The order of arrival. Null: no client is told of it by /sync.
    position bigint,
    -- The order of the room's history. Null: an outlier, known but not part of the history.
    history_order bigint,
    depth bigint NOT NULL,
    event_type text NOT NULL,
    state_key text,
    sender text NOT NULL,
    origin_server_ts bigint NOT NULL,
    -- 0 accepted, 1 soft-failed, 2 rejected.
    verdict smallint NOT NULL,
    -- The state after this event. Null for an outlier.
    snapshot_nid bigint,
    -- The event of the same state key in the state before this event, in its own branch.
    replaces_nid bigint,
    redacted_by_nid bigint,
    auth_nids bigint[] NOT NULL,
    -- It came before events that it follows: a timeline does not reach back over it.
    after_gap boolean NOT NULL DEFAULT false,
    json text NOT NULL
);
CREATE UNIQUE INDEX events_position ON events (position) WHERE position IS NOT NULL;
CREATE UNIQUE INDEX events_history ON events (room_nid, history_order) WHERE history_order IS NOT NULL;
CREATE INDEX events_state_history ON events (room_nid, event_type, state_key, history_order)
    WHERE state_key IS NOT NULL;
CREATE INDEX events_time ON events (room_nid, origin_server_ts)
    WHERE history_order IS NOT NULL AND verdict = 0;

-- Events of other servers whose transactions were answered before they were taken into their room, by
-- transaction and room. Of a room the oldest row is worked off, by one process at a time.
CREATE TABLE inbox (
    batch_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id text NOT NULL,
    origin text NOT NULL,
    transaction_id text NOT NULL,
    -- A JSON array of events.
    pdus text NOT NULL,
    -- How often in a row it could not be worked off, and when it is tried again.
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz NOT NULL DEFAULT '-infinity',
    -- Counts the claims: who has lost its claim changes nothing.
    token bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz NOT NULL DEFAULT '-infinity',
    UNIQUE (origin, transaction_id, room_id)
);
CREATE INDEX inbox_rooms ON inbox (room_id, batch_nid);

-- The parents of each event. One that is not known yet is named: the room's history ends there.
CREATE TABLE event_edges (
    event_nid bigint NOT NULL,
    prev_nid bigint,
    prev_event_id text,
    -- The room whose history ends there; null where it does not.
    gap_room_nid bigint,
    CHECK ((prev_nid IS NULL) <> (prev_event_id IS NULL)),
    CHECK ((prev_event_id IS NULL) = (gap_room_nid IS NULL))
);
CREATE INDEX event_edges_prev ON event_edges (prev_nid) WHERE prev_nid IS NOT NULL;
CREATE INDEX event_edges_missing ON event_edges (prev_event_id) WHERE prev_event_id IS NOT NULL;
CREATE INDEX event_edges_gaps ON event_edges (gap_room_nid) WHERE gap_room_nid IS NOT NULL;

-- Redactions whose targets are not known yet; of one target the first 20.
CREATE TABLE pending_redactions (
    room_nid bigint NOT NULL REFERENCES rooms,
    target_event_id text NOT NULL,
    redaction_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, target_event_id, redaction_nid)
);

-- What redactions have taken away (storage/events/erase.rs).
CREATE TABLE event_originals (
    event_nid bigint PRIMARY KEY,
    json text NOT NULL,
    redacted_by_nid bigint NOT NULL,
    sealed_ts bigint NOT NULL
);

-- Numbers for event types with state keys.
CREATE TABLE state_keys (
    state_key_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type text NOT NULL,
    state_key text NOT NULL,
    UNIQUE (event_type, state_key)
);

-- The state of a room: what its parent holds, overlaid with these events. Depth is bounded.
CREATE TABLE snapshots (
    snapshot_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL REFERENCES rooms,
    parent_nid bigint REFERENCES snapshots DEFERRABLE INITIALLY DEFERRED,
    depth smallint NOT NULL,
    key_nids bigint[] NOT NULL,
    -- In the order of the keys; 0 takes a key of the parent away.
    event_nids bigint[] NOT NULL,
    -- Of the whole state: equal states of a room share a row.
    digest bytea NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (room_nid, digest)
);
CREATE INDEX snapshots_parent ON snapshots (parent_nid) WHERE parent_nid IS NOT NULL;

-- Rooms that were joined without the events of most members, whose whole state is fetched behind (MSC3902). A row
-- stays when the state is whole: what was sent before goes to the servers that were believed to be in the room.
CREATE TABLE partial_states (
    room_nid bigint PRIMARY KEY REFERENCES rooms,
    -- The joins before which the state is not known; all that follows is to be checked again.
    join_nids bigint[] NOT NULL,
    -- Positions in the stream: since when parts of the state are not known, and since when all are.
    since bigint NOT NULL,
    completed_at bigint,
    -- The servers that were joined through, and those that were said to be in the room.
    via text[] NOT NULL,
    servers text[] NOT NULL,
    -- The servers that were in the room for a while without being believed to be.
    missed text[] NOT NULL DEFAULT '{}',
    -- How often in a row the state could not be had, and when it is tried again.
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz NOT NULL DEFAULT '-infinity',
    -- Counts the processes that work on it; until when the last one is taken to live.
    token bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX partial_states_open ON partial_states (retry_at) WHERE completed_at IS NULL;
CREATE INDEX partial_states_since ON partial_states (since);
CREATE INDEX partial_states_completed ON partial_states (completed_at) WHERE completed_at IS NOT NULL;

-- How the current state of rooms came about. Each delta stands right after the event that caused it.
CREATE TABLE state_deltas (
    room_nid bigint NOT NULL REFERENCES rooms,
    position bigint NOT NULL,
    state_key_nid bigint NOT NULL,
    -- Null: the key has no event any more.
    event_nid bigint,
    -- Null: the key had no event.
    previous_nid bigint,
    PRIMARY KEY (room_nid, position, state_key_nid)
);
CREATE INDEX state_deltas_position ON state_deltas (position);
-- What a key was at a position: what the first later delta has replaced.
CREATE INDEX state_deltas_key ON state_deltas (room_nid, state_key_nid, position);
-- Keys that vanished, which is rare.
CREATE INDEX state_deltas_vanished ON state_deltas (room_nid, position) WHERE event_nid IS NULL;

-- Follows the deltas.
CREATE TABLE current_state (
    room_nid bigint NOT NULL REFERENCES rooms,
    event_type text NOT NULL,
    state_key text NOT NULL,
    state_key_nid bigint NOT NULL,
    event_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, event_type, state_key)
);

-- Follows the deltas.
CREATE TABLE memberships (
    room_nid bigint NOT NULL REFERENCES rooms,
    user_id text NOT NULL,
    membership text NOT NULL,
    -- Who set it: tells a member who left from one who was kicked.
    sender text NOT NULL,
    event_nid bigint NOT NULL,
    -- Since when: stays while a member only changes name or picture.
    position bigint NOT NULL,
    forgotten boolean NOT NULL DEFAULT false,
    PRIMARY KEY (room_nid, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, membership);
-- Members that joined or left a room after a position.
CREATE INDEX memberships_moves ON memberships (room_nid, position);

CREATE TABLE room_aliases (
    alias text PRIMARY KEY,
    room_nid bigint NOT NULL REFERENCES rooms,
    creator text NOT NULL
);
CREATE INDEX room_aliases_room ON room_aliases (room_nid);

-- Which message events relate to which event: threads, edits, reactions, references.
CREATE TABLE relations (
    room_nid bigint NOT NULL REFERENCES rooms,
    target_id text NOT NULL,
    history_order bigint NOT NULL,
    event_nid bigint NOT NULL,
    rel_type text NOT NULL,
    PRIMARY KEY (room_nid, target_id, history_order)
);
CREATE INDEX relations_event ON relations (event_nid);
-- For unread counts of threads.
CREATE INDEX relations_threads ON relations (room_nid, history_order) WHERE rel_type = 'm.thread';

CREATE TABLE receipts (
    room_nid bigint NOT NULL REFERENCES rooms,
    user_id text NOT NULL,
    receipt_type text NOT NULL,
    -- Empty: not bound to a thread.
    thread_id text NOT NULL,
    event_id text NOT NULL,
    -- Where that event stands in the room's history; null when it is not part of it here.
    event_order bigint,
    ts bigint NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (room_nid, user_id, receipt_type, thread_id)
);
CREATE INDEX receipts_position ON receipts (position);
CREATE INDEX receipts_room ON receipts (room_nid, position);

-- How many notifications a user has not read in a thread of a room, as counted up to a position of the
-- stream. Written now and then, so that a restart does not count from the beginning: rows of a room
-- whose position is not that of `main` are out of date.
CREATE TABLE unread_counts (
    user_id text NOT NULL,
    room_nid bigint NOT NULL REFERENCES rooms,
    -- `main`: what is outside of threads; every room that was counted has this row.
    thread_id text NOT NULL,
    counted_until bigint NOT NULL,
    -- When push rules or ignored users had last changed.
    settings_changed bigint NOT NULL,
    -- Places in the room's history: how far the room was read, and how far this thread beyond that.
    read_up_to bigint NOT NULL,
    thread_read_up_to bigint,
    notifications bigint NOT NULL,
    highlights bigint NOT NULL,
    PRIMARY KEY (user_id, room_nid, thread_id)
);

-- Room 0 stands for the account itself.
CREATE TABLE account_data (
    user_id text NOT NULL,
    room_nid bigint NOT NULL,
    event_type text NOT NULL,
    content text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, room_nid, event_type)
);
CREATE INDEX account_data_position ON account_data (position);
CREATE INDEX account_data_user ON account_data (user_id, position);

CREATE TABLE to_device (
    user_id text NOT NULL,
    device_id text NOT NULL,
    position bigint NOT NULL,
    sender text NOT NULL,
    event_type text NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (user_id, device_id, position)
);
CREATE INDEX to_device_position ON to_device (position);

-- Messages to devices of other servers, until they are in the queues of those (queued_edus).
CREATE TABLE outgoing_to_device (
    position bigint PRIMARY KEY,
    server_name text NOT NULL,
    sender text NOT NULL,
    event_type text NOT NULL,
    -- JSON: contents by user and device, as in `m.direct_to_device`.
    messages text NOT NULL
);

-- The last time that a user's devices, their keys or the cross-signing keys changed.
CREATE TABLE device_lists (
    user_id text PRIMARY KEY,
    position bigint NOT NULL
);
CREATE INDEX device_lists_position ON device_lists (position);

-- What other servers were last told of the devices and cross-signing keys of this server's users.
CREATE TABLE published_device_lists (
    user_id text PRIMARY KEY,
    -- Of the last update; each is greater than the one before.
    stream_id bigint NOT NULL,
    -- JSON, the contents of the last `m.device_list_update` and `m.signing_key_update`; empty: none yet.
    last_update text NOT NULL,
    signing_keys text NOT NULL
);

-- The devices that other servers were told of, by a hash of name and keys.
CREATE TABLE published_devices (
    user_id text NOT NULL,
    device_id text NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- Users of other servers whose devices and keys are cached here. They share a room with a user of this
-- server: what changes is told by their servers.
CREATE TABLE remote_device_lists (
    user_id text PRIMARY KEY,
    -- The last update that is known, as the user's server numbers them.
    stream_id bigint NOT NULL,
    -- Updates were missed: the list is to be read anew.
    is_stale boolean NOT NULL,
    -- Counts how often the list became stale: one that becomes so while it is read is read once more.
    generation bigint NOT NULL DEFAULT 0,
    -- How often in a row it could not be read, and when it is tried again.
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX remote_device_lists_stale ON remote_device_lists (retry_at) WHERE is_stale;

-- Users of other servers whose devices or keys have changed, who may be in rooms whose members are not known yet.
-- Their ids are escaped like those of memberships.
CREATE TABLE pending_device_lists (
    user_id text PRIMARY KEY
);

-- The last time that a user signed another user's master key, which only the signer gets to see.
CREATE TABLE user_signatures (
    signer text NOT NULL,
    user_id text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (signer, user_id)
);
CREATE INDEX user_signatures_position ON user_signatures (position);

-- The devices whose numbers of one-time or fallback keys changed lately. A row stands for changes that follow
-- each other in the stream, and has the position of the last.
CREATE TABLE key_count_changes (
    position bigint PRIMARY KEY,
    -- JSON: pairs of user and device.
    devices text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Accounts. Rows stay after deactivation, so that a name is never given away twice.
CREATE TABLE users (
    user_id text PRIMARY KEY,
    -- Null: there is no password to log in with.
    password_hash text,
    is_admin boolean NOT NULL DEFAULT false,
    is_guest boolean NOT NULL DEFAULT false,
    created_ts bigint NOT NULL,
    deactivated_ts bigint,
    erased boolean NOT NULL DEFAULT false
);

-- Devices of local users, and of remote users as far as they are cached. Whoever deletes one deletes
-- what belongs to it (storage/devices.rs).
CREATE TABLE devices (
    user_id text NOT NULL,
    device_id text NOT NULL,
    display_name text,
    created_ts bigint NOT NULL,
    last_seen_ts bigint,
    last_seen_ip text,
    PRIMARY KEY (user_id, device_id)
);

-- The device that a user leaves on the server, to receive room keys while logged in nowhere (MSC3814).
CREATE TABLE dehydrated_devices (
    user_id text PRIMARY KEY,
    device_id text NOT NULL,
    -- The encrypted device, JSON as it was sent.
    data text NOT NULL,
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- A login; a new one on the same device replaces it.
CREATE TABLE sessions (
    session_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    created_ts bigint NOT NULL,
    UNIQUE (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- Access and refresh tokens, as SHA-256 hashes. Using a token of one generation ends the earlier ones.
CREATE TABLE session_tokens (
    token_hash bytea PRIMARY KEY,
    session_nid bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    is_refresh boolean NOT NULL,
    generation bigint NOT NULL,
    expires_ts bigint
);
CREATE INDEX session_tokens_session ON session_tokens (session_nid, generation);

-- Whom to tell of notifications, over HTTP; each ends with its session.
CREATE TABLE pushers (
    pusher_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    app_id text NOT NULL,
    push_key text NOT NULL,
    session_nid bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    url text NOT NULL,
    -- What the push gateway is sent with each notification, a JSON object.
    data text NOT NULL,
    app_display_name text NOT NULL,
    device_display_name text NOT NULL,
    profile_tag text,
    lang text NOT NULL,
    set_ts bigint NOT NULL,
    -- While the gateway fails: what comes after this position of the stream was not sent.
    sent_until bigint,
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    UNIQUE (user_id, app_id, push_key)
);
CREATE INDEX pushers_app ON pushers (app_id, push_key);
CREATE INDEX pushers_session ON pushers (session_nid);
CREATE INDEX pushers_retry ON pushers (retry_at) WHERE retry_at IS NOT NULL;

-- Tokens for `m.login.token`, as SHA-256 hashes, used once.
CREATE TABLE login_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    expires_ts bigint NOT NULL
);

-- Tokens with which users prove to others who they are, as SHA-256 hashes.
CREATE TABLE openid_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    expires_ts bigint NOT NULL
);

-- What users report to the administrators; the columns that do not apply to a report are empty.
CREATE TABLE reports (
    report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reporter text NOT NULL REFERENCES users,
    room_id text NOT NULL,
    event_id text NOT NULL,
    -- The user who is reported as such, not the sender of an event.
    user_id text NOT NULL,
    reason text,
    reported_ts bigint NOT NULL,
    UNIQUE (reporter, room_id, event_id, user_id)
);

-- User-interactive authentication under way.
CREATE TABLE uia_sessions (
    session_id text PRIMARY KEY,
    -- The request that is being authenticated: caller, method, path, body.
    fingerprint bytea NOT NULL,
    completed text[] NOT NULL,
    registration_token text,
    expires_ts bigint NOT NULL
);

CREATE TABLE registration_tokens (
    token text PRIMARY KEY,
    -- Null: any number.
    uses_allowed bigint,
    completed bigint NOT NULL DEFAULT 0,
    expires_ts bigint,
    created_ts bigint NOT NULL
);

-- For registration with the shared secret, used once.
CREATE TABLE registration_nonces (
    nonce text PRIMARY KEY,
    expires_ts bigint NOT NULL
);

-- Profiles of local users, and of remote users as far as they are cached.
CREATE TABLE profiles (
    user_id text NOT NULL,
    field text NOT NULL,
    -- JSON.
    value text NOT NULL,
    PRIMARY KEY (user_id, field)
);

-- Whom searches for users find (storage/user_directory.rs).
CREATE TABLE user_directory (
    user_id text NOT NULL,
    -- 0 for users of this server, whose name is that of the profile. Of a user of another server there is a row
    -- for each room that the user is joined to, with the name in it.
    room_nid bigint NOT NULL,
    display_name text,
    avatar_url text,
    -- Of id and name, without case and accents.
    words tsvector NOT NULL,
    -- The name and the localpart, without case and accents.
    name_key text NOT NULL,
    id_key text NOT NULL,
    PRIMARY KEY (user_id, room_nid)
);
CREATE INDEX user_directory_words ON user_directory USING gin (words);

-- Rooms that anybody may join or read: searches for users find their members.
CREATE TABLE open_rooms (
    room_nid bigint PRIMARY KEY
);

-- Which events searches for messages find (storage/search.rs).
CREATE TABLE searchable_events (
    event_nid bigint PRIMARY KEY,
    -- Of the event's text, and of its room.
    words tsvector NOT NULL
);
CREATE INDEX searchable_events_words ON searchable_events USING gin (words);

-- The text search configuration of the words.
CREATE TABLE search_language (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    language text NOT NULL
);

-- Events that were filled into a room's history, where no follower of the stream finds them, until they are
-- searchable.
CREATE TABLE search_backlog (
    event_nid bigint PRIMARY KEY
);

CREATE TABLE filters (
    filter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    digest bytea NOT NULL,
    content text NOT NULL,
    UNIQUE (user_id, digest)
);

-- What clients of sliding sync have been sent on a connection (sync/sliding/connection.rs). A version
-- never changes; a connection has up to four.
CREATE TABLE sync_connections (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    conn_id text NOT NULL,
    -- JSON.
    content text NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX sync_connections_device ON sync_connections (user_id, device_id, conn_id);
CREATE INDEX sync_connections_unused ON sync_connections (used_at);

-- A device's identity keys as they were signed, with the cross-signatures that were added since.
CREATE TABLE device_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    keys text NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

-- Claimed once each, the oldest first. The ids of a device's keys differ: its uploads wait for each other
-- (storage/families/key_uploads.rs), which costs less than an index.
CREATE TABLE one_time_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    key_id text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (user_id, device_id, algorithm, ordinal)
);

-- Claimed repeatedly when no one-time key is left.
CREATE TABLE fallback_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key text NOT NULL,
    used boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id, algorithm)
);

-- Users' master, self-signing and user-signing keys.
CREATE TABLE cross_signing_keys (
    user_id text NOT NULL,
    usage text NOT NULL,
    public_key text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (user_id, usage)
);

-- Signatures that were added to master keys: by their owners' devices and by other users.
CREATE TABLE master_key_signatures (
    user_id text NOT NULL,
    public_key text NOT NULL,
    signer text NOT NULL,
    signer_key text NOT NULL,
    signature text NOT NULL,
    PRIMARY KEY (user_id, public_key, signer, signer_key)
);
CREATE INDEX master_key_signatures_signer ON master_key_signatures (signer);

-- Users' backups of room keys; the newest that is not deleted is the one that keys are added to.
CREATE TABLE key_backups (
    user_id text NOT NULL,
    version bigint NOT NULL,
    algorithm text NOT NULL,
    -- JSON, as it was sent.
    auth_data text NOT NULL,
    -- Counts the changes of the keys.
    etag bigint NOT NULL DEFAULT 0,
    key_count bigint NOT NULL DEFAULT 0,
    -- A deleted backup keeps its number: no other gets it.
    is_deleted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, version)
);

CREATE TABLE backed_up_keys (
    user_id text NOT NULL,
    version bigint NOT NULL,
    room_id text NOT NULL,
    session_id text NOT NULL,
    is_verified boolean NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count bigint NOT NULL,
    -- JSON, as it was sent.
    key text NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id)
);

-- Events sent lately: the same transaction of the same user and device makes one event, whatever happens to
-- the answer and whichever process is asked again.
CREATE TABLE event_transactions (
    user_id text NOT NULL,
    -- Empty for application services that name no device.
    device_id text NOT NULL,
    room_nid bigint NOT NULL,
    event_type text NOT NULL,
    transaction_id text NOT NULL,
    event_nid bigint NOT NULL,
    sent_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id, room_nid, event_type, transaction_id)
);
CREATE INDEX event_transactions_event ON event_transactions (event_nid);
CREATE INDEX event_transactions_sent ON event_transactions USING brin (sent_ts);

-- Events that users have scheduled to be sent later (MSC4140). Of those that have ended, the row stays for a while,
-- for clients that repeat the request by which they scheduled it.
CREATE TABLE delayed_events (
    delay_id text PRIMARY KEY,
    user_id text NOT NULL,
    -- Empty without a device.
    device_id text NOT NULL,
    -- Null where the endpoint has none.
    transaction_id text,
    room_id text NOT NULL,
    event_type text NOT NULL,
    -- Null for messages.
    state_key text,
    -- JSON; empty after the end.
    content text NOT NULL,
    delay_ms bigint NOT NULL,
    -- Milliseconds since the epoch: when the delay began, when the event is due, when it was sent or cancelled.
    running_since bigint NOT NULL,
    due_at bigint NOT NULL,
    ended_at bigint,
    -- The position of the stream then: state that others set later takes its place.
    scheduled_at bigint NOT NULL,
    -- How often in a row it could not be sent.
    failures integer NOT NULL DEFAULT 0,
    -- Counts the claims: who has lost its claim changes nothing.
    token bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz NOT NULL DEFAULT '-infinity',
    UNIQUE (user_id, device_id, room_id, event_type, transaction_id)
);
CREATE INDEX delayed_events_due ON delayed_events (due_at, delay_id) WHERE ended_at IS NULL;
CREATE INDEX delayed_events_user ON delayed_events (user_id) WHERE ended_at IS NULL;
CREATE INDEX delayed_events_state ON delayed_events (room_id, event_type, state_key)
    WHERE ended_at IS NULL AND state_key IS NOT NULL;
CREATE INDEX delayed_events_ended ON delayed_events (ended_at) WHERE ended_at IS NOT NULL;

-- The threads that users have subscribed to (MSC4306), and from which they have unsubscribed.
CREATE SEQUENCE thread_subscription_changes;
CREATE TABLE thread_subscriptions (
    user_id text NOT NULL,
    room_nid bigint NOT NULL,
    root_nid bigint NOT NULL,
    is_subscribed boolean NOT NULL,
    -- A client has subscribed by itself.
    is_automatic boolean NOT NULL,
    -- The position of the stream then: later events may lead to an automatic subscription.
    unsubscribed_at bigint,
    -- The number of the last change.
    bump_stamp bigint NOT NULL DEFAULT nextval('thread_subscription_changes'),
    PRIMARY KEY (user_id, room_nid, root_nid)
);
CREATE UNIQUE INDEX thread_subscriptions_changes ON thread_subscriptions (user_id, bump_stamp);

-- Recent client transactions of to-device messages, for idempotency.
CREATE TABLE to_device_transactions (
    user_id text NOT NULL,
    device_id text NOT NULL,
    transaction_id text NOT NULL,
    sent_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id, transaction_id)
);
CREATE INDEX to_device_transactions_sent ON to_device_transactions (sent_ts);

-- Servers that something is sent to: whether they can be reached, and the transaction under way.
CREATE TABLE destinations (
    server_name text PRIMARY KEY,
    -- False: its queues are empty.
    has_work boolean NOT NULL DEFAULT false,
    -- Nothing is sent before.
    retry_at timestamptz NOT NULL DEFAULT '-infinity',
    -- How often in a row sending has failed, since when, when last, and why.
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    failed_at timestamptz,
    error text,
    succeeded_at timestamptz,
    -- The transaction that is not known to have arrived, and what is in it. It is repeated as it is.
    transaction_id text,
    pdu_positions bigint[] NOT NULL DEFAULT '{}',
    edu_nids bigint[] NOT NULL DEFAULT '{}',
    -- The process that sends, and until when it is taken to live.
    holder bigint,
    token bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX destinations_due ON destinations (retry_at) WHERE has_work;

-- Events that wait for other servers, in the order of the stream.
CREATE TABLE queued_pdus (
    server_name text NOT NULL,
    position bigint NOT NULL,
    room_nid bigint NOT NULL,
    event_nid bigint NOT NULL,
    PRIMARY KEY (server_name, position)
);

-- What else waits for other servers.
CREATE TABLE queued_edus (
    edu_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server_name text NOT NULL,
    -- A later one of the same key replaces an earlier one; null: it must arrive.
    key text,
    -- JSON.
    content text NOT NULL,
    -- It is not worth sending any more.
    expires_at timestamptz
);
CREATE INDEX queued_edus_order ON queued_edus (server_name, edu_nid);
CREATE INDEX queued_edus_expiry ON queued_edus (server_name, expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX queued_edus_key ON queued_edus (server_name, key) WHERE key IS NOT NULL;

-- Events of other servers that this one passes on: joins, leaves and knocks that it has accepted.
CREATE TABLE relayed_events (
    event_id text PRIMARY KEY,
    added_at timestamptz NOT NULL DEFAULT now()
);

-- Uploaded files, and cached files of other servers; several may share one content, which is stored
-- under its hash.
CREATE TABLE media (
    -- The server that the file was uploaded to.
    origin text NOT NULL,
    media_id text NOT NULL,
    -- Null for files of other servers.
    user_id text,
    created_ts bigint NOT NULL,
    last_access_ts bigint,
    -- The administrator who withdrew the file.
    quarantined_by text,
    -- Null once the content is there.
    expires_ts bigint,
    sha256 bytea,
    size bigint,
    content_type text,
    filename text,
    -- What the copy of another server's file takes with its thumbnails; null for files of this server.
    cached_bytes bigint,
    PRIMARY KEY (origin, media_id),
    CHECK ((sha256 IS NULL) = (size IS NULL) AND (sha256 IS NULL) <> (expires_ts IS NULL))
);
-- What a user's files take.
CREATE INDEX media_user ON media (user_id) INCLUDE (size) WHERE sha256 IS NOT NULL;
CREATE INDEX media_pending ON media (user_id, expires_ts) WHERE sha256 IS NULL;
-- Copies of other servers' files, the least recently used first.
CREATE INDEX media_cached ON media ((COALESCE(last_access_ts, created_ts))) INCLUDE (cached_bytes)
    WHERE cached_bytes IS NOT NULL;

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_settings
        WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)
    ) THEN
        ALTER TABLE events ALTER COLUMN json SET COMPRESSION lz4;
        ALTER TABLE event_originals ALTER COLUMN json SET COMPRESSION lz4;
        ALTER TABLE account_data ALTER COLUMN content SET COMPRESSION lz4;
        ALTER TABLE to_device ALTER COLUMN content SET COMPRESSION lz4;
    END IF;
END
$$;
