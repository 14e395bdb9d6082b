package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Measure is one thing that is measured: prepare is not timed, run is.
type Measure struct {
	Name    string
	prepare func(*World) error
	run     func(*Target, *Stopwatch) error
}

// measures in the order in which they run. The goals name them.
var measures = []Measure{
	{"send", nil, runSends},
	{"fanout", catchUpWaiting, runFanout},
	{"empty sync", catchUpMembers, runEmptySyncs},
	{"initial sync", freshDevices, runInitialSyncs},
}

// runSends lets 8 senders send one message after the other, in all their rooms in turn.
func runSends(target *Target, watch *Stopwatch) error {
	world := target.world
	return inParallel(senders, senders, func(s int) error {
		for i := range sendsPerRun / senders {
			room := world.sendRooms[(s+i)%len(world.sendRooms)]
			err := watch.Time(func() error {
				_, err := world.senders[s].Send(room)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func catchUpWaiting(world *World) error { return catchUp(world.waiting) }

func catchUpMembers(world *World) error { return catchUp(world.members[:emptySyncUsers]) }

// catchUp brings users to a position where nothing is new to them.
func catchUp(users []*User) error {
	return inParallel(len(users), setupInFlight, func(i int) error {
		for range 2 {
			if _, err := users[i].Sync(0); err != nil {
				return err
			}
		}
		return nil
	})
}

// runFanout sends one message to users who all wait in a long poll, and times each arrival from the moment of sending.
// Who has the message rests until all have it; the next round starts with everybody waiting again.
func runFanout(target *Target, watch *Stopwatch) error {
	world := target.world
	for range rounds {
		arrivals := make([]time.Time, waiting)
		answers := make([][]byte, waiting)
		failed := make(chan error, 1)
		go func() {
			failed <- inParallel(waiting, waiting, func(i int) error {
				for {
					answer, err := world.waiting[i].Sync(30_000)
					if err != nil {
						return err
					}
					if bytes.Contains(answer, []byte(messageText)) {
						arrivals[i], answers[i] = time.Now(), answer
						return nil
					}
				}
			})
		}()
		watch.Pause(target.WaitUntilIdle)
		sent := time.Now()
		id, err := world.announcer.Send(world.hall)
		if err = errors.Join(err, <-failed); err != nil {
			return err
		}
		for i, answer := range answers {
			if !bytes.Contains(answer, []byte(id)) {
				return fmt.Errorf("user %d was woken by another message than %s", i, id)
			}
			watch.Add(arrivals[i].Sub(sent))
		}
	}
	return nil
}

// runEmptySyncs lets 8 users in 50 rooms ask what is new, without waiting, for some seconds.
func runEmptySyncs(target *Target, watch *Stopwatch) error {
	end := time.Now().Add(5 * time.Second)
	return inParallel(emptySyncUsers, emptySyncUsers, func(i int) error {
		for time.Now().Before(end) {
			err := watch.Time(func() error {
				answer, err := target.world.members[i].Sync(0)
				if err == nil && bytes.Contains(answer, []byte(`"timeline"`)) {
					err = fmt.Errorf("a sync should have been empty: %.200s", answer)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// freshDevices logs in devices that have never synced, so that no server answers an initial sync from memory of the last.
func freshDevices(world *World) error {
	world.fresh = world.fresh[:0]
	for range initialSyncs {
		device, err := world.members[0].Login()
		if err != nil {
			return err
		}
		world.fresh = append(world.fresh, device)
	}
	return nil
}

// runInitialSyncs syncs devices from nothing, one after the other.
func runInitialSyncs(target *Target, watch *Stopwatch) error {
	for _, device := range target.world.fresh {
		var answer []byte
		err := watch.Time(func() (err error) {
			answer, err = device.Sync(0)
			return err
		})
		device.Close()
		if err != nil {
			return err
		}
		var decoded struct {
			Rooms struct{ Join map[string]json.RawMessage }
		}
		if err := json.Unmarshal(answer, &decoded); err != nil {
			return err
		}
		if found := len(decoded.Rooms.Join); found != rooms {
			return fmt.Errorf("an initial sync has %d of %d rooms", found, rooms)
		}
	}
	return nil
}
