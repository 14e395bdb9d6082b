package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

const (
	members        = 10 // of each of the rooms that syncs cover
	rooms          = 50 // that syncs cover
	messagesEach   = 20 // in each of them
	initialSyncs   = 10 // per run
	emptySyncUsers = 8
)

var memberRooms = &Part{"members and their rooms", fillMembers}

var syncMeasures = []Measure{
	{Name: "empty sync", part: memberRooms, prepare: catchUpMembers, run: runEmptySyncs},
	{Name: "initial sync", part: memberRooms, prepare: freshDevices, run: runInitialSyncs},
}

// residentMeasures take the server's memory when all before them are done.
var residentMeasures = []Measure{
	{Name: "resident memory", run: recordMemory("VmRSS"), inMiB: true, once: true},
	{Name: "peak memory", run: recordMemory("VmHWM"), inMiB: true, once: true},
}

func recordMemory(field string) func(*Target, *Stopwatch) error {
	return func(target *Target, watch *Stopwatch) error {
		watch.MiB = target.ResidentMiB(field)
		return nil
	}
}

func fillMembers(target *Target) (err error) {
	if target.world.members, err = registerAll(target, members); err != nil {
		return err
	}
	_, err = fillRooms(target.world.members, rooms, messagesEach)
	return err
}

func catchUpMembers(target *Target) error { return catchUp(target.world.members[:emptySyncUsers]) }

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

// runEmptySyncs lets 8 users in 50 rooms ask what is new, without waiting, for some seconds.
func runEmptySyncs(target *Target, watch *Stopwatch) error {
	return syncInLoops(target.world.members[:emptySyncUsers], watch)
}

// syncInLoops lets users ask what is new, without waiting, again and again.
func syncInLoops(users []*User, watch *Stopwatch) error {
	end := time.Now().Add(loopTime)
	return inParallel(len(users), len(users), func(i int) error {
		for time.Now().Before(end) {
			err := watch.Time(func() error {
				answer, err := users[i].Sync(0)
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
func freshDevices(target *Target) error {
	world := target.world
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

func runInitialSyncs(target *Target, watch *Stopwatch) error {
	return syncFirst(target.world.fresh, rooms, watch)
}

// syncFirst syncs devices from nothing, one after the other, which have to find so many rooms.
func syncFirst(devices []*User, expected int, watch *Stopwatch) error {
	for _, device := range devices {
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
		if found := len(decoded.Rooms.Join); found != expected {
			return fmt.Errorf("an initial sync has %d of %d rooms", found, expected)
		}
	}
	return nil
}
