package main

import (
	"fmt"
	"sync"
)

const setupInFlight = 8 // requests at once while a target is filled

// World is what a target has been filled with.
type World struct {
	filled    map[*Part]bool
	senders   []*User
	sendRooms []string
	members   []*User
	fresh     []*User // devices that have never synced
	announcer *User
	audience  []*User
	hall      string
	keyGroups []*keyGroup
	uploads   []upload
	media     mediaWorld
	accounts  []*User // that have made no request yet
	crowds    map[int]*crowd
	byRooms   map[int]*User
	madeRooms []string // that the users in byRooms are in
	histories map[int]*history
	federated *federated
}

func newWorld() *World {
	return &World{
		filled: map[*Part]bool{}, crowds: map[int]*crowd{}, byRooms: map[int]*User{}, histories: map[int]*history{},
	}
}

// registerAll makes accounts that can log in again.
func registerAll(target *Target, count int) ([]*User, error) {
	users := make([]*User, count)
	return users, inParallel(count, setupInFlight, func(i int) (err error) {
		users[i], err = Register(target.Address)
		return err
	})
}

// joinAll lets users join a public room.
func joinAll(users []*User, room string) error {
	return inParallel(len(users), setupInFlight, func(i int) error {
		defer users[i].Close() // thousands of connections would stay open
		return users[i].Join(room)
	})
}

// leaveAll lets users leave a room.
func leaveAll(users []*User, room string) error {
	return inParallel(len(users), setupInFlight, func(i int) error { return users[i].Leave(room) })
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

// shareOut lets each client do its share of the work, one piece after the other.
func shareOut(count int, clients []*User, do func(client *User, i int) error) error {
	return inParallel(len(clients), len(clients), func(c int) error {
		for i := c; i < count; i += len(clients) {
			if err := do(clients[c], i); err != nil {
				return err
			}
		}
		return nil
	})
}
