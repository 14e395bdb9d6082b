package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// ticksPerSecond is the kernel's USER_HZ, the same on every Linux machine.
const ticksPerSecond = 100

// Process is a program that we started and stop again.
type Process struct {
	command *exec.Cmd
	exited  chan error
}

// StartProcess runs a command in the background, its output in the log file.
func StartProcess(command *exec.Cmd, logFile string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setpgid = true // an interrupt at the terminal goes to us; we stop the others in order
	if err := command.Start(); err != nil {
		return nil, err
	}
	process := &Process{command: command, exited: make(chan error, 1)}
	go func() { process.exited <- command.Wait() }()
	return process, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Stop sends the signal and waits; after a minute it kills.
func (p *Process) Stop(signal syscall.Signal) {
	p.command.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		p.command.Process.Kill()
		<-p.exited
	}
}

// WaitUntil polls until ready says nil; it gives up when the process exits or two minutes have passed.
func (p *Process) WaitUntil(ready func() error) error {
	deadline := time.After(2 * time.Minute)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case exit := <-p.exited:
			p.exited <- exit
			return fmt.Errorf("%s exited early: %v", filepath.Base(p.command.Path), exit)
		case <-deadline:
			return fmt.Errorf("%s did not become ready: %w", filepath.Base(p.command.Path), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// processTree lists a process and all that descend from it.
func processTree(root int) []int {
	children := map[int][]int{}
	directories, _ := filepath.Glob("/proc/[0-9]*")
	for _, directory := range directories {
		if fields := statFields(directory); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			pid, _ := strconv.Atoi(filepath.Base(directory))
			children[parent] = append(children[parent], pid)
		}
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// processorTime is the time on a processor that a tree has used: that of the running processes to the nanosecond, that
// of children that have exited to the kernel's tick.
func processorTime(root int) time.Duration {
	var total time.Duration
	for _, pid := range processTree(root) {
		if fields := statFields("/proc/" + strconv.Itoa(pid)); len(fields) > 14 {
			total += ticks(fields[13:15]) // of reaped children
			if own, known := processorClock(pid); known {
				total += own
			} else {
				total += ticks(fields[11:13])
			}
		}
	}
	return total
}

func ticks(fields []string) time.Duration {
	total := 0
	for _, field := range fields {
		n, _ := strconv.Atoi(field)
		total += n
	}
	return time.Duration(total) * time.Second / ticksPerSecond
}

// processorClock reads the clock that the kernel keeps of the processor time of all threads of a process.
func processorClock(pid int) (time.Duration, bool) {
	const scheduled = 2 // CPUCLOCK_SCHED in the kernel's numbering of such clocks
	clock := uint32(^pid)<<3 | scheduled
	var read syscall.Timespec
	_, _, failed := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&read)), 0)
	return time.Duration(read.Nano()), failed == 0
}

// statFields are the fields of /proc/PID/stat from the third, the state, on; nil for a process that is gone.
func statFields(directory string) []string {
	stat, err := os.ReadFile(directory + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
}

// residentMiB sums a field of /proc/PID/status, VmRSS or VmHWM, over a tree.
func residentMiB(root int, field string) float64 {
	total := 0
	for _, pid := range processTree(root) {
		status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		for _, line := range strings.Split(string(status), "\n") {
			if words := strings.Fields(line); len(words) > 1 && words[0] == field+":" {
				n, _ := strconv.Atoi(words[1])
				total += n
			}
		}
	}
	return float64(total) / 1024
}
