package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

func escape(segment string) string { return url.PathEscape(segment) }

// hostedRoom is a public room that a peer has made.
type hostedRoom struct {
	version   string
	state     []json.RawMessage
	authority []json.RawMessage // the part of the state that authorises all of it
	joinAuth  []string          // what authorises a join
	last      string
	depth     int
}

// Host makes a room of so many members with so many state events in all, and returns its id.
func (p *Peer) Host(members, stateEvents int) (string, error) {
	roomID := "!bench" + strconv.FormatInt(serial.Add(1), 10) + ":" + p.Name
	room := &hostedRoom{version: federatedVersion}
	owner := p.User("owner")
	add := func(sender, eventType, stateKey string, content object, auth []string) (string, error) {
		event := object{
			"type": eventType, "room_id": roomID, "sender": sender, "state_key": stateKey, "content": content,
			"origin_server_ts": time.Now().UnixMilli(), "depth": room.depth + 1,
			"prev_events": []string{}, "auth_events": auth,
		}
		if room.depth > 0 {
			event["prev_events"] = []string{room.last}
		}
		id, text, err := p.finish(event)
		room.depth, room.last = room.depth+1, id
		room.state = append(room.state, text)
		return id, err
	}
	var ids []string
	for _, event := range []struct {
		eventType, stateKey string
		content             object
	}{
		{"m.room.create", "", object{"room_version": room.version}},
		{"m.room.member", owner, object{"membership": "join"}},
		{"m.room.power_levels", "", object{"users": object{owner: 100}}},
		{"m.room.join_rules", "", object{"join_rule": "public"}},
	} {
		id, err := add(owner, event.eventType, event.stateKey, event.content, append([]string{}, ids...))
		if err != nil {
			return "", err
		}
		ids = append(ids, id)
	}
	room.authority = append([]json.RawMessage{}, room.state...)
	room.joinAuth = []string{ids[0], ids[2], ids[3]}
	for i := 1; i < members; i++ {
		user := p.User("member" + strconv.Itoa(i))
		if _, err := add(user, "m.room.member", user, object{"membership": "join"}, room.joinAuth); err != nil {
			return "", err
		}
	}
	for i := len(room.state); i < stateEvents; i++ {
		if _, err := add(owner, "org.example.bench", strconv.Itoa(i), object{"number": i}, ids[:3]); err != nil {
			return "", err
		}
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.hosted[roomID] = room
	return roomID, nil
}

func (p *Peer) hostedRoom(r *http.Request) *hostedRoom {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.hosted[r.PathValue("room")]
}

func (p *Peer) makeJoin(w http.ResponseWriter, r *http.Request) {
	room := p.hostedRoom(r)
	if room == nil {
		http.NotFound(w, r)
		return
	}
	respond(w, object{"room_version": room.version, "event": object{
		"type": "m.room.member", "room_id": r.PathValue("room"), "sender": r.PathValue("user"),
		"state_key": r.PathValue("user"), "content": object{"membership": "join"},
		"origin_server_ts": time.Now().UnixMilli(), "depth": room.depth + 1,
		"prev_events": []string{room.last}, "auth_events": room.joinAuth,
	}})
}

// sendJoin answers with the whole state.
func (p *Peer) sendJoin(w http.ResponseWriter, r *http.Request) {
	room := p.hostedRoom(r)
	var joined json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&joined); room == nil || err != nil {
		http.Error(w, fmt.Sprint("no such room, or no event: ", err), http.StatusBadRequest)
		return
	}
	respond(w, object{
		"origin": p.Name, "event": joined, "members_omitted": false, "servers_in_room": []string{p.Name},
		"state": room.state, "auth_chain": room.authority,
	})
}
