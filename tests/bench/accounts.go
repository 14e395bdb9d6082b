package main

import (
	"fmt"
	"strconv"
	"strings"
)

// Making an account over HTTP hashes its password, which is slow on purpose. Where thousands of accounts are needed and
// none of them logs in, their rows are written into the database instead: what a registration without a password leaves
// there.
const (
	chanceryAccounts = `
CREATE TEMPORARY TABLE made AS
    SELECT format('@{prefix}%s:localhost', i) AS user_id, format('{prefix}%s', i) AS token FROM generate_series(1, {count}) i;
INSERT INTO users (user_id, created_ts) SELECT user_id, 0 FROM made;
INSERT INTO devices (user_id, device_id, created_ts) SELECT user_id, '{device}', 0 FROM made;
INSERT INTO sessions (user_id, device_id, created_ts) SELECT user_id, '{device}', 0 FROM made;
INSERT INTO session_tokens (token_hash, session_nid, is_refresh, generation)
    SELECT sha256(token::bytea), session_nid, false, 0 FROM made JOIN sessions USING (user_id);
ANALYZE users, devices, sessions, session_tokens;`

	synapseAccounts = `
CREATE TEMPORARY TABLE made AS
    SELECT format('{prefix}%s', i) AS name FROM generate_series(1, {count}) i;
INSERT INTO users (name, creation_ts, admin, is_guest, deactivated, shadow_banned, approved)
    SELECT format('@%s:localhost', name), 0, 0, 0, 0, false, true FROM made;
INSERT INTO profiles (user_id, full_user_id, displayname) SELECT name, format('@%s:localhost', name), name FROM made;
INSERT INTO devices (user_id, device_id, hidden) SELECT format('@%s:localhost', name), '{device}', false FROM made;
INSERT INTO access_tokens (id, user_id, device_id, token, used)
    SELECT coalesce((SELECT max(id) FROM access_tokens), 0) + 1000000 + row_number() OVER (),
        format('@%s:localhost', name), '{device}', name, false FROM made;
ANALYZE users, profiles, devices, access_tokens;`

	accountDevice = "DEVICE"
)

// makeAccounts writes accounts with a logged-in device each into the database.
func makeAccounts(target *Target, count int) ([]*User, error) {
	prefix := "a" + strconv.FormatInt(serial.Add(1), 10) + "-"
	statements := strings.NewReplacer(
		"{prefix}", prefix, "{count}", strconv.Itoa(count), "{device}", accountDevice,
	).Replace(target.accounts)
	if err := target.postgres.Execute(statements); err != nil {
		return nil, fmt.Errorf("making accounts: %w", err)
	}
	users := make([]*User, count)
	for i := range users {
		name := prefix + strconv.Itoa(i+1)
		users[i] = &User{
			Connection: Connection{address: target.Address}, Name: name, ID: "@" + name + ":localhost", Token: name,
		}
	}
	return users, nil
}
