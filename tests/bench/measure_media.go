package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	fileBytes       = 1 << 20
	mediaClients    = 4
	filesPerRun     = 100
	downloadsPerRun = 400
	// objectStore names the comparison that is no server.
	objectStore = "object_store"
)

// mediaWorld is who uploads and what.
type mediaWorld struct {
	clients []*User
	content []byte // of every file, but for its number in front
	paths   []string
}

var uploaders = &Part{"who uploads", fillUploaders}

var mediaMeasures = []Measure{
	{Name: "media up", part: uploaders, run: runMediaUp, baseline: runBaseline("up", filesPerRun)},
	{Name: "media down", part: uploaders, prepare: someMedia, run: runMediaDown, baseline: runBaseline("down", downloadsPerRun)},
}

func fillUploaders(target *Target) (err error) {
	world := &target.world.media
	world.content = make([]byte, fileBytes)
	rand.Read(world.content)
	world.clients, err = makeAccounts(target, mediaClients)
	return err
}

func (w *mediaWorld) file(number int) []byte {
	file := bytes.Clone(w.content)
	binary.BigEndian.PutUint64(file, uint64(number))
	return file
}

func runMediaUp(target *Target, watch *Stopwatch) error {
	world := &target.world.media
	first := len(world.paths)
	world.paths = append(world.paths, make([]string, filesPerRun)...)
	return shareOut(filesPerRun, world.clients, func(client *User, i int) error {
		file := world.file(first + i)
		var answer []byte
		err := watch.Time(func() (err error) {
			answer, err = client.Upload("/_matrix/media/v3/upload", client.Token, file)
			return err
		})
		if err != nil {
			return err
		}
		uri, err := stringField(answer, "content_uri")
		world.paths[first+i] = strings.Replace(uri, "mxc://", "/_matrix/client/v1/media/download/", 1)
		return err
	})
}

// someMedia uploads what can be downloaded, if nothing was uploaded yet.
func someMedia(target *Target) error {
	if len(target.world.media.paths) > 0 {
		return nil
	}
	return runMediaUp(target, NewStopwatch(target.Used))
}

func runMediaDown(target *Target, watch *Stopwatch) error {
	world := &target.world.media
	return shareOut(downloadsPerRun, world.clients, func(client *User, i int) error {
		number := i % len(world.paths)
		var answer []byte
		err := watch.Time(func() (err error) {
			answer, err = client.Do("GET", world.paths[number], client.Token, nil)
			return err
		})
		if err == nil && (len(answer) != fileBytes || binary.BigEndian.Uint64(answer) != uint64(number)) {
			err = fmt.Errorf("file %d came back as another", number)
		}
		return err
	})
}

// runBaseline does the same work on files with object_store and SHA-256 alone, in a process of its own.
func runBaseline(direction string, count int) func(folder string, watch *Stopwatch) error {
	return func(folder string, watch *Stopwatch) error {
		binary := os.Getenv("OBJECT_STORE_BINARY")
		if binary == "" {
			return errors.New("OBJECT_STORE_BINARY has to name the program that media is compared with")
		}
		start := time.Now()
		output, err := exec.Command(binary, direction, folder, strconv.Itoa(count)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", binary, err, output)
		}
		each := time.Since(start) / time.Duration(count)
		for range count {
			watch.Add(each)
		}
		return nil
	}
}

// baselineUsed is the time on a processor that programs have used which have run to their end.
func baselineUsed() (server, postgres time.Duration) {
	var children syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children) // cannot fail with these arguments
	return time.Duration(children.Utime.Nano() + children.Stime.Nano()), 0
}
