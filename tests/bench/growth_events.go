package main

import (
	"net/url"
	"sync"
)

const (
	eventsAxis     = "messages in a room"
	historyMembers = 30
	contextsPerRun = 100
)

var eventSizes = []int{100, 1000, 10_000}

// history is a room with many messages.
type history struct {
	room    string
	members []*User
	synced  int // members who have synced, from the last one on
	events  []string
	looked  int // events that were looked at
}

var eventsMeasures = forSizes(eventsAxis, eventSizes, noLimit, func(size int) []Measure {
	with := func(run func(*history, *Stopwatch) error) func(*Target, *Stopwatch) error {
		return func(target *Target, watch *Stopwatch) error { return run(target.world.histories[size], watch) }
	}
	part := &Part{"a room of " + thousands(size) + " messages", func(target *Target) error {
		return fillHistory(target, size)
	}}
	return []Measure{
		{Name: "context of an old message", part: part, run: with(runContexts)},
		{Name: "first sync", part: part, run: with(runHistorySyncs)},
		{Name: "send", part: part, run: with(func(history *history, watch *Stopwatch) error {
			return sendTimes(history.members[:senders], history.room, watch)
		})},
	}
})

func fillHistory(target *Target, size int) error {
	users, err := makeAccounts(target, historyMembers)
	if err != nil {
		return err
	}
	history := &history{members: users}
	target.world.histories[size] = history
	if history.room, err = users[0].CreateRoom(); err != nil {
		return err
	}
	if err := joinAll(users[1:], history.room); err != nil {
		return err
	}
	var mutex sync.Mutex
	return shareOut(size, users[:senders], func(user *User, _ int) error {
		id, err := user.Send(history.room)
		mutex.Lock()
		defer mutex.Unlock()
		history.events = append(history.events, id)
		return err
	})
}

// runContexts looks at what stands around messages of the older half, another one each time.
func runContexts(history *history, watch *Stopwatch) error {
	user := history.members[0]
	half := len(history.events) / 2
	for range contextsPerRun {
		const stride = 37 // has no divisor in common with the sizes, so that all are looked at before the first again
		event := history.events[history.looked*stride%half]
		history.looked++
		path := clientAPI + "/rooms/" + url.PathEscape(history.room) + "/context/" + url.PathEscape(event) + "?limit=20"
		err := watch.Time(func() error {
			_, err := user.Do("GET", path, user.Token, nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// runHistorySyncs lets members who have never synced do so.
func runHistorySyncs(history *history, watch *Stopwatch) error {
	const each = 5
	end := len(history.members) - history.synced
	history.synced += each
	return syncFirst(history.members[end-each:end], 1, watch)
}
