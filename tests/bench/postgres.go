package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// Every cluster gets the same settings. It listens on a unix socket only.
const postgresSettings = `
listen_addresses = ''
shared_buffers = 256MB
fsync = on
synchronous_commit = on
`

// Postgres is a private cluster with one database.
type Postgres struct {
	*Process
	Socket   string
	Database string
	Version  string
	tool     func(name string, arguments ...string) *exec.Cmd
}

// StartPostgres makes a cluster under the directory, as an unprivileged user when we are root, and starts it.
func StartPostgres(ctx context.Context, directory, database string) (*Postgres, error) {
	binaries, err := postgresBinaries()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	attributes, err := unprivileged(directory)
	if err != nil {
		return nil, err
	}
	tool := func(name string, arguments ...string) *exec.Cmd {
		command := exec.CommandContext(ctx, filepath.Join(binaries, name), arguments...)
		command.Dir, command.SysProcAttr = directory, attributes
		return command
	}
	data := filepath.Join(directory, "data")
	initialise := tool("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
	if output, err := initialise.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, output)
	}
	settings := postgresSettings + fmt.Sprintf("unix_socket_directories = '%s'\n", directory)
	if err := os.WriteFile(filepath.Join(data, "postgresql.auto.conf"), []byte(settings), 0o644); err != nil {
		return nil, err
	}
	server := exec.Command(filepath.Join(binaries, "postgres"), "-D", data) // outlives ctx: stopped after its client
	server.Dir, server.SysProcAttr = directory, attributes
	process, err := StartProcess(server, directory+".log")
	if err != nil {
		return nil, err
	}
	postgres := &Postgres{Process: process, Socket: directory, Database: database, tool: tool}
	err = process.WaitUntil(func() error {
		statement := fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'", database)
		output, err := tool("psql", "-h", directory, "-U", "bench", "-d", "postgres", "-qc", statement).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	})
	if err != nil {
		postgres.Stop()
		return nil, err
	}
	version, err := tool("postgres", "--version").Output()
	fields := strings.Fields(string(version))
	if err == nil && len(fields) > 2 {
		postgres.Version = fields[2]
	}
	return postgres, nil
}

// Execute runs SQL statements in the database.
func (p *Postgres) Execute(statements string) error {
	arguments := []string{"-h", p.Socket, "-U", "bench", "-d", p.Database, "-v", "ON_ERROR_STOP=1", "-qc", statements}
	if output, err := p.tool("psql", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

// Stop shuts the cluster down without waiting for its clients.
func (p *Postgres) Stop() { p.Process.Stop(syscall.SIGINT) }

// postgresBinaries finds the newest installed server's programs.
func postgresBinaries() (string, error) {
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	sort.Slice(candidates, func(i, j int) bool { return majorVersion(candidates[i]) > majorVersion(candidates[j]) })
	if output, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(output)))
	}
	for _, directory := range candidates {
		if _, err := os.Stat(filepath.Join(directory, "initdb")); err == nil {
			return directory, nil
		}
	}
	return "", errors.New("PostgreSQL is not installed (Debian: apt-get install postgresql)")
}

func majorVersion(directory string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(directory)))
	return version
}

// unprivileged gives the directory to an unprivileged user when we are root (PostgreSQL refuses to run as root) and
// returns the attributes that run a program as that user.
func unprivileged(directory string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return nil, err
	}
	credential := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return &syscall.SysProcAttr{Credential: credential}, os.Chown(directory, uid, gid)
}
