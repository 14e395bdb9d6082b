package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// serverName is the name of all servers that are measured.
const serverName = "localhost"

// Software is a homeserver program that can be measured.
type Software struct {
	Name      string
	readyPath string // answers 200 once requests are served
	launch    launcher
	// accounts is SQL that makes accounts with a device and an access token each. {prefix} and {count} are replaced.
	accounts string
}

// launcher prepares what a server needs in its directory and returns the command that runs it, and its version.
type launcher func(ctx context.Context, directory, address string, database *Postgres) (*exec.Cmd, string, error)

// Target is a homeserver under test with a PostgreSQL cluster of its own.
type Target struct {
	Software
	Version   string
	Address   string // of the first process
	ctx       context.Context
	directory string
	postgres  *Postgres
	mutex     sync.Mutex
	servers   []*Process
	world     *World
	peer      *Peer
}

// StartTarget starts a cluster and a server on it, and waits until the server is ready.
func StartTarget(ctx context.Context, software Software, directory string) (*Target, error) {
	postgres, err := StartPostgres(ctx, directory+"-pg", "homeserver")
	if err != nil {
		return nil, err
	}
	target := &Target{Software: software, ctx: ctx, directory: directory, postgres: postgres, world: newWorld()}
	context.AfterFunc(ctx, target.interrupt)
	if err = os.MkdirAll(directory, 0o755); err == nil {
		target.peer, err = StartPeer(directory)
	}
	if err == nil {
		target.Address, err = freeAddress()
	}
	if err == nil {
		err = target.startServer(target.Address)
	}
	if err != nil {
		target.Stop()
		return nil, fmt.Errorf("%s: %w", software.Name, err)
	}
	return target, nil
}

// startServer starts one more process of the server on the database.
func (t *Target) startServer(address string) error {
	command, version, err := t.launch(t.ctx, t.directory, address, t.postgres)
	if err != nil {
		return err
	}
	process, err := StartProcess(command, t.directory+".log")
	if err != nil {
		return err
	}
	t.Version = version
	t.mutex.Lock()
	t.servers = append(t.servers, process)
	t.mutex.Unlock()
	return process.WaitUntil(func() error {
		answer, err := http.Get("http://" + address + t.readyPath)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", t.readyPath, answer.Status)
		}
		return t.ctx.Err()
	})
}

// AddServer starts another process on the same database and returns its address.
func (t *Target) AddServer() (string, error) {
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	return address, t.startServer(address)
}

// StopServers ends all processes of the server but the first so many.
func (t *Target) StopServers(keep int) {
	t.mutex.Lock()
	ending := t.servers[keep:]
	t.servers = t.servers[:keep:keep]
	t.mutex.Unlock()
	for _, process := range ending {
		process.Stop(syscall.SIGTERM)
	}
}

// Restart replaces the server by a new process at the same address, whose memory is empty.
func (t *Target) Restart() error {
	t.StopServers(0)
	return t.startServer(t.Address)
}

// Stop ends the server, then its cluster.
func (t *Target) Stop() {
	t.StopServers(0)
	if t.peer != nil {
		t.peer.Stop()
	}
	t.postgres.Stop()
}

// interrupt makes the server end, so that whatever waits for its answers fails at once.
func (t *Target) interrupt() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for _, process := range t.servers {
		process.command.Process.Signal(syscall.SIGTERM)
	}
}

// Used is the processor time that the server's running processes and its cluster have used.
func (t *Target) Used() (server, postgres time.Duration) {
	for _, process := range t.servers {
		server += processorTime(process.PID())
	}
	return server, processorTime(t.postgres.PID())
}

// ResidentMiB sums a field of /proc/PID/status, VmRSS or VmHWM, over the server's processes.
func (t *Target) ResidentMiB(field string) float64 {
	total := 0.0
	for _, process := range t.servers {
		total += residentMiB(process.PID(), field)
	}
	return total
}

// WaitUntilIdle returns when server and cluster have used next to no processor time for a moment: what the last
// requests set off is done, and every long poll waits. A target that stays busy is measured as it is.
func (t *Target) WaitUntilIdle() {
	const moment, limit = 300 * time.Millisecond, 20 * time.Second
	for end := time.Now().Add(limit); time.Now().Before(end); {
		server, postgres := t.Used()
		time.Sleep(moment)
		serverNow, postgresNow := t.Used()
		if serverNow-server+postgresNow-postgres <= moment/15 {
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
