package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const pioneers = 20 // who wait before, so that what is counted is not what the first one costs

var (
	waitingClients = 1000
	// waitingCrowd is the size of the room that all of them are in.
	waitingCrowd = 2000
	waitingTime  = 45 * time.Second
)

func waitingMeasures() []Measure {
	return []Measure{{
		Name: strconv.Itoa(waitingClients) + " waiting clients", part: crowdPart(waitingCrowd), prepare: prepareWaiting, run: runWaiting,
		inMiB: true, once: true,
	}}
}

// prepareWaiting lets all clients have a token of a sync that took nothing to make, then empties the server's memory.
func prepareWaiting(target *Target) error {
	users := target.world.crowds[waitingCrowd].members[:waitingClients+pioneers]
	err := inParallel(len(users), setupInFlight, func(i int) error {
		nothing := url.QueryEscape(`{"room":{"rooms":[]}}`)
		answer, err := users[i].Do("GET", clientAPI+"/sync?timeout=0&filter="+nothing, users[i].Token, nil)
		if err != nil {
			return err
		}
		users[i].Close()
		users[i].Since, err = stringField(answer, "next_batch")
		return err
	})
	return errors.Join(err, target.Restart())
}

// runWaiting takes the server's memory while nobody waits and while all do, each on a connection of its own.
func runWaiting(target *Target, watch *Stopwatch) error {
	members := target.world.crowds[waitingCrowd].members
	waiting, first := members[:waitingClients], members[waitingClients:waitingClients+pioneers]
	if _, err := waitAtOnce(target, first, 10*time.Second); err != nil {
		return err
	}
	target.WaitUntilIdle()
	idle := target.ResidentMiB("VmRSS")
	full, err := waitAtOnce(target, waiting, waitingTime)
	watch.MiB = full - idle
	return err
}

// waitAtOnce lets all users wait for what is new until their time is over, and returns the server's memory meanwhile.
func waitAtOnce(target *Target, users []*User, timeout time.Duration) (float64, error) {
	var answered atomic.Int64
	failed := make(chan error, 1)
	go func() {
		failed <- inParallel(len(users), len(users), func(i int) error {
			_, err := users[i].Sync(int(timeout.Milliseconds()))
			answered.Add(1)
			users[i].Close()
			return err
		})
	}()
	target.WaitUntilIdle()
	resident := target.ResidentMiB("VmRSS")
	early := answered.Load()
	err := <-failed
	if err == nil && early > 0 {
		err = fmt.Errorf("%d of %d clients did not wait", early, len(users))
	}
	return resident, err
}
