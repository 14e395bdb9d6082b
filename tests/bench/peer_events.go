package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// federatedVersion is the room version of the rooms that a peer is in.
const federatedVersion = "11"

// canonical is canonical JSON: Go writes the keys of maps in order.
func canonical(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// keptContent are the keys of the content that redaction leaves, by event type; of a creation all.
var keptContent = map[string][]string{
	"m.room.member":     {"membership", "join_authorised_via_users_server"},
	"m.room.join_rules": {"join_rule", "allow"},
	"m.room.power_levels": {"ban", "events", "events_default", "invite", "kick", "redact", "state_default", "users",
		"users_default"},
	"m.room.history_visibility": {"history_visibility"},
	"m.room.redaction":          {"redacts"},
}

var keptKeys = []string{"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "depth", "prev_events",
	"auth_events", "origin_server_ts"}

// redactedText is what is hashed and signed of an event.
func redactedText(event object) ([]byte, error) {
	redacted := object{}
	for _, key := range keptKeys {
		if value, there := event[key]; there {
			redacted[key] = value
		}
	}
	eventType, _ := event["type"].(string)
	if content, _ := event["content"].(object); eventType != "m.room.create" {
		kept := object{}
		for _, key := range keptContent[eventType] {
			if value, there := content[key]; there {
				kept[key] = value
			}
		}
		redacted["content"] = kept
	}
	return canonical(redacted)
}

// eventID is the reference hash of an event.
func eventID(event object) (string, error) {
	text, err := redactedText(event)
	return idOf(text), err
}

func idOf(redacted []byte) string {
	hash := sha256.Sum256(redacted)
	return "$" + base64.RawURLEncoding.EncodeToString(hash[:])
}

// finish adds what is still missing to an event of the peer: its hash and signature. It returns its id and its text.
func (p *Peer) finish(event object) (string, json.RawMessage, error) {
	for _, key := range []string{"hashes", "signatures", "unsigned"} {
		delete(event, key)
	}
	text, err := canonical(event)
	if err != nil {
		return "", nil, err
	}
	hash := sha256.Sum256(text)
	event["hashes"] = object{"sha256": base64.RawStdEncoding.EncodeToString(hash[:])}
	redacted, err := redactedText(event)
	if err != nil {
		return "", nil, err
	}
	event["signatures"] = object{p.Name: object{"ed25519:" + signingKeyID: p.signature(redacted)}}
	text, err = canonical(event)
	return idOf(redacted), text, err
}

// position is where a user of the peer adds events to the graph of a room.
type position struct {
	roomID, sender string
	last           string // the event that the next one follows
	depth          int
	auth           []string // what authorises the sender's messages
}

// message makes an event after the last one.
func (p *Peer) message(at *position, body string) (json.RawMessage, error) {
	at.depth++
	id, text, err := p.finish(object{
		"type": "m.room.message", "room_id": at.roomID, "sender": at.sender,
		"content":          object{"msgtype": "m.text", "body": body},
		"origin_server_ts": time.Now().UnixMilli(), "depth": at.depth,
		"prev_events": []string{at.last}, "auth_events": at.auth,
	})
	at.last = id
	return text, err
}

// messages makes so many.
func (p *Peer) messages(at *position, count int) ([]json.RawMessage, error) {
	made := make([]json.RawMessage, count)
	for i := range made {
		var err error
		if made[i], err = p.message(at, messageText); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// Join lets a user of the peer join a room of a server that is measured.
func (p *Peer) Join(target *Target, roomID, userID string) (*position, error) {
	var draft struct{ Event object }
	path := fmt.Sprintf("/_matrix/federation/v1/make_join/%s/%s?ver=%s", escape(roomID), escape(userID), federatedVersion)
	if err := p.Request(target, "GET", path, nil, &draft); err != nil {
		return nil, err
	}
	event := draft.Event
	event["origin_server_ts"] = time.Now().UnixMilli()
	delete(event, "origin")
	depth, _ := event["depth"].(float64)
	id, text, err := p.finish(event)
	if err != nil {
		return nil, err
	}
	var answer struct{ State []object }
	path = fmt.Sprintf("/_matrix/federation/v2/send_join/%s/%s", escape(roomID), escape(id))
	if err := p.Request(target, "PUT", path, text, &answer); err != nil {
		return nil, err
	}
	at := &position{roomID: roomID, sender: userID, last: id, depth: int(depth), auth: []string{id}}
	for _, event := range answer.State {
		if eventType, _ := event["type"].(string); slices.Contains([]string{"m.room.create", "m.room.power_levels"}, eventType) {
			id, err := eventID(event)
			if err != nil {
				return nil, err
			}
			at.auth = append(at.auth, id)
		}
	}
	if len(at.auth) != 3 {
		return nil, errors.New("the state lacks the creation or the power levels")
	}
	return at, nil
}
