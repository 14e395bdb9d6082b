package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

func today() string { return time.Now().UTC().Format("2006-01-02 15:04 MST") }

// machine describes what the figures were taken on.
func machine() string {
	model, memory := "unknown processor", "unknown memory"
	if file, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		model = valueOf(string(file), "model name", model)
	}
	if file, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kibibytes int
		fmt.Sscan(valueOf(string(file), "MemTotal", ""), &kibibytes)
		memory = fmt.Sprintf("%.0f GiB memory", float64(kibibytes)/(1<<20))
	}
	kernel, _ := exec.Command("uname", "-sr").Output()
	return fmt.Sprintf("%d cores (%s), %s, %s", runtime.NumCPU(), model, memory, strings.TrimSpace(string(kernel)))
}

func valueOf(file, key, otherwise string) string {
	for _, line := range strings.Split(file, "\n") {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}
