package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

const (
	senders     = 8 // who send at once, in as many rooms
	sendsPerRun = 1600
	audience    = 200 // users who wait for one message
	rounds      = 10  // messages per run that they get
)

// loopTime is how long operations are repeated that are counted by time.
var loopTime = 5 * time.Second

var messageMeasures = []Measure{
	{Name: "send", part: &Part{"senders and their rooms", fillSenders}, run: runSends},
	{Name: "fanout", part: &Part{"a room of waiting users", fillHall}, prepare: catchUpAudience, run: runFanout},
}

func fillSenders(target *Target) (err error) {
	world := target.world
	if world.senders, err = registerAll(target, senders); err != nil {
		return err
	}
	world.sendRooms, err = fillRooms(world.senders, senders, 0)
	return err
}

// runSends lets 8 senders send one message after the other, in all their rooms in turn.
func runSends(target *Target, watch *Stopwatch) error {
	world := target.world
	return inParallel(senders, senders, func(s int) error {
		for i := range sendsPerRun / senders {
			if err := world.senders[s].sendTimed(watch, world.sendRooms[(s+i)%len(world.sendRooms)]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (u *User) sendTimed(watch *Stopwatch, room string) error {
	return watch.Time(func() error {
		_, err := u.Send(room)
		return err
	})
}

// sendTimes lets users send one message after the other into a room for some seconds.
func sendTimes(users []*User, room string, watch *Stopwatch) error {
	end := time.Now().Add(loopTime)
	return inParallel(len(users), len(users), func(i int) error {
		for time.Now().Before(end) {
			if err := users[i].sendTimed(watch, room); err != nil {
				return err
			}
		}
		return nil
	})
}

func fillHall(target *Target) error {
	users, err := registerAll(target, audience+1)
	if err != nil {
		return err
	}
	world := target.world
	world.announcer, world.audience = users[0], users[1:]
	if world.hall, err = world.announcer.CreateRoom(); err != nil {
		return err
	}
	return joinAll(world.audience, world.hall)
}

func catchUpAudience(target *Target) error { return catchUp(target.world.audience) }

// runFanout sends one message to users who all wait in a long poll, and times each arrival from the moment of sending.
// Who has the message rests until all have it; the next round starts with everybody waiting again.
func runFanout(target *Target, watch *Stopwatch) error {
	world := target.world
	for range rounds {
		arrivals := make([]time.Time, audience)
		answers := make([][]byte, audience)
		failed := make(chan error, 1)
		go func() {
			failed <- inParallel(audience, audience, func(i int) error {
				for {
					answer, err := world.audience[i].Sync(30_000)
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
