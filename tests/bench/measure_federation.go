package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

const (
	peerRounds      = 20 // messages per run that a waiting user gets from another server
	transactionSize = 50 // the most that a transaction may hold
	hostedMembers   = 1000
	hostedState     = 5000
	burstPatience   = time.Minute // how long the last messages of a burst may take
)

// burstSize is how many messages go to another server in one burst.
var burstSize = 2000

var peerPart = &Part{"a room with a user of another server", fillPeerRoom}

var federationMeasures = []Measure{
	{Name: "peer message", part: peerPart, run: runPeerMessages},
	{Name: "peer transaction", part: peerPart, run: runPeerTransactions},
	{Name: "remote join", part: peerPart, prepare: hostRoom, run: runRemoteJoin},
	{Name: "burst to a peer", part: peerPart, run: runBurst},
}

// federated is a room of a server that is measured which a user of its peer is in.
type federated struct {
	user *User
	room string
	peer *position
	// hosted is a room of the peer that the user is not in yet.
	hosted string
	bursts int
}

func fillPeerRoom(target *Target) error {
	users, err := registerAll(target, 1)
	if err != nil {
		return err
	}
	room, err := users[0].CreateRoomOf(federatedVersion)
	if err != nil {
		return err
	}
	at, err := target.peer.Join(target, room, target.peer.User("bob"))
	if err != nil {
		return err
	}
	target.world.federated = &federated{user: users[0], room: room, peer: at}
	return nil
}

// runPeerMessages lets the peer send messages to a user who waits in a long poll.
func runPeerMessages(target *Target, watch *Stopwatch) error {
	federated := target.world.federated
	var err error
	watch.Pause(func() { _, err = federated.user.Sync(0) })
	for range peerRounds {
		if err != nil {
			return err
		}
		body := "message " + strconv.FormatInt(serial.Add(1), 10)
		message, failure := target.peer.message(federated.peer, body)
		if failure != nil {
			return failure
		}
		var arrived time.Time
		waited := make(chan error, 1)
		go func() {
			var err error
			arrived, err = federated.waitFor(body)
			waited <- err
		}()
		watch.Pause(target.WaitUntilIdle)
		sent := time.Now()
		delivered := target.peer.Deliver(target, []json.RawMessage{message})
		if err = errors.Join(delivered, <-waited); err == nil {
			watch.Add(arrived.Sub(sent))
		}
	}
	return err
}

// waitFor syncs until a message is there, and returns when it came.
func (f *federated) waitFor(body string) (time.Time, error) {
	for {
		answer, err := f.user.Sync(30_000)
		if err != nil || bytes.Contains(answer, []byte(body)) {
			return time.Now(), err
		}
	}
}

// runPeerTransactions lets the peer send one full transaction after the other for some seconds.
func runPeerTransactions(target *Target, watch *Stopwatch) error {
	peer, at := target.peer, target.world.federated.peer
	end := time.Now().Add(loopTime)
	for time.Now().Before(end) {
		events, err := peer.messages(at, transactionSize)
		if err != nil {
			return err
		}
		if err := watch.Time(func() error { return peer.Deliver(target, events) }); err != nil {
			return err
		}
	}
	return nil
}

func hostRoom(target *Target) (err error) {
	target.world.federated.hosted, err = target.peer.Host(hostedMembers, hostedState)
	return err
}

// runRemoteJoin times how long it takes a user to join the peer's room and to send a message there.
func runRemoteJoin(target *Target, watch *Stopwatch) error {
	federated := target.world.federated
	return watch.Time(func() error {
		path := fmt.Sprintf("%s/join/%s?server_name=%s&via=%s", clientAPI, escape(federated.hosted), target.peer.Name, target.peer.Name)
		if err := federated.user.JSON("POST", path, federated.user.Token, object{}, nil); err != nil {
			return err
		}
		_, err := federated.user.Send(federated.hosted)
		return err
	})
}

// runBurst times how long it takes until messages, sent one after the other, are at the peer.
func runBurst(target *Target, watch *Stopwatch) error {
	federated, peer := target.world.federated, target.peer
	before := len(peer.WaitForMessages(federated.room, 0, 0))
	federated.bursts++
	expected := make([]string, burstSize)
	started := time.Now()
	for i := range expected {
		expected[i] = fmt.Sprintf("burst %d, message %d", federated.bursts, i)
		path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%d", clientAPI, escape(federated.room), serial.Add(1))
		body := object{"msgtype": "m.text", "body": expected[i]}
		if err := federated.user.JSON("PUT", path, federated.user.Token, body, nil); err != nil {
			return err
		}
	}
	arrived := peer.WaitForMessages(federated.room, before+burstSize, burstPatience)[before:]
	watch.Add(time.Since(started))
	if !slices.Equal(arrived, expected) {
		progress("%s: of %d messages %d have arrived, in order: %v", target.Name, burstSize, len(arrived),
			len(arrived) <= burstSize && slices.Equal(arrived, expected[:len(arrived)]))
	}
	return nil
}
