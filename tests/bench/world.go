package main

import (
	"fmt"
	"sync"
)

const (
	senders        = 8   // who send at once, in as many rooms
	members        = 10  // of each of the rooms that syncs cover
	rooms          = 50  // that syncs cover
	messagesEach   = 20  // in each of them
	waiting        = 200 // users who wait for one message
	setupInFlight  = 8
	sendsPerRun    = 1600
	rounds         = 10 // messages per run that the waiting users get
	initialSyncs   = 10 // per run
	emptySyncUsers = 8
)

// World is what a target is filled with before anything is measured.
type World struct {
	senders   []*User
	sendRooms []string
	members   []*User
	waiting   []*User
	announcer *User
	hall      string
	fresh     []*User // devices that have never synced
}

// BuildWorld registers the users and fills the rooms. It is not measured.
func BuildWorld(address string) (*World, error) {
	world := &World{}
	var hosts []*User
	groups := []struct {
		users *[]*User
		count int
	}{{&world.senders, senders}, {&world.members, members}, {&world.waiting, waiting}, {&hosts, 1}}
	for _, group := range groups {
		*group.users = make([]*User, group.count)
		err := inParallel(group.count, setupInFlight, func(i int) (err error) {
			(*group.users)[i], err = Register(address)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	world.announcer = hosts[0]
	var err error
	if world.sendRooms, err = fillRooms(world.senders, senders, 0); err != nil {
		return nil, err
	}
	if _, err = fillRooms(world.members, rooms, messagesEach); err != nil {
		return nil, err
	}
	if world.hall, err = world.announcer.CreateRoom(); err != nil {
		return nil, err
	}
	return world, inParallel(waiting, setupInFlight, func(i int) error {
		return world.waiting[i].Join(world.hall)
	})
}

// fillRooms makes rooms that all these users are in, each with so many messages, everybody speaking in turn.
func fillRooms(users []*User, count, messages int) ([]string, error) {
	made := make([]string, count)
	err := inParallel(len(users), setupInFlight, func(u int) (err error) { // each user makes a share of the rooms
		for i := u; i < count && err == nil; i += len(users) {
			made[i], err = users[u].CreateRoom()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, inParallel(len(users), setupInFlight, func(u int) error {
		for i, room := range made {
			if err := users[u].Join(room); err != nil {
				return err
			}
			for m := (u + i) % len(users); m < messages; m += len(users) {
				if _, err := users[u].Send(room); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// inParallel calls do for 0 to count-1, so many at a time, and returns the first error.
func inParallel(count, limit int, do func(int) error) error {
	var group sync.WaitGroup
	var once sync.Once
	var first error
	slots := make(chan struct{}, limit)
	for i := range count {
		slots <- struct{}{}
		group.Add(1)
		go func() {
			defer func() { <-slots; group.Done() }()
			if err := do(i); err != nil {
				once.Do(func() { first = fmt.Errorf("item %d: %w", i, err) })
			}
		}()
	}
	group.Wait()
	return first
}
