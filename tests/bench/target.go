package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// Target is a homeserver under test with a PostgreSQL cluster of its own.
type Target struct {
	Name     string
	Version  string
	Address  string
	server   *Process
	postgres *Postgres
	world    *World
}

// launcher prepares what a server needs in its directory and returns the command that runs it.
type launcher func(ctx context.Context, directory, address string, database *Postgres) (*exec.Cmd, string, error)

// StartTarget starts a cluster and a server on it, and waits until the path answers.
func StartTarget(ctx context.Context, name, directory, readyPath string, launch launcher) (*Target, error) {
	postgres, err := StartPostgres(ctx, directory+"-pg", "homeserver")
	if err != nil {
		return nil, err
	}
	target := &Target{Name: name, postgres: postgres}
	if err := target.start(ctx, directory, readyPath, launch); err != nil {
		target.Stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return target, nil
}

func (t *Target) start(ctx context.Context, directory, readyPath string, launch launcher) (err error) {
	if t.Address, err = freeAddress(); err != nil {
		return err
	}
	command, version, err := launch(ctx, directory, t.Address, t.postgres)
	if err != nil {
		return err
	}
	t.Version = version
	if t.server, err = StartProcess(command, directory+".log"); err != nil {
		return err
	}
	return t.server.WaitUntil(func() error {
		answer, err := http.Get("http://" + t.Address + readyPath)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", readyPath, answer.Status)
		}
		return nil
	})
}

// Stop ends the server, then its cluster.
func (t *Target) Stop() {
	if t.server != nil {
		t.server.Stop(syscall.SIGTERM)
	}
	t.postgres.Stop()
}

// Interrupt makes the server end, so that whatever waits for its answers fails at once.
func (t *Target) Interrupt() { t.server.command.Process.Signal(syscall.SIGTERM) }

// WaitUntilIdle returns when server and cluster have used next to no processor time for a moment: what the last
// requests set off is done, and every long poll waits. A target that stays busy is measured as it is.
func (t *Target) WaitUntilIdle() {
	const moment, limit = 300 * time.Millisecond, 20 * time.Second
	for end := time.Now().Add(limit); time.Now().Before(end); {
		before := processorTime(t.server.PID()) + processorTime(t.postgres.PID())
		time.Sleep(moment)
		if processorTime(t.server.PID())+processorTime(t.postgres.PID())-before <= moment/15 {
			return
		}
	}
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	return number
}
