// The bench drives Chancery and, beside it in the same run, Synapse, and compares them. See docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

var (
	targetNames = flag.String("targets", "chancery,synapse", "which servers to measure, comma-separated")
	runs        = flag.Int("runs", 3, "measured runs of each measure")
	jsonFile    = flag.String("json", "bench.json", "where to write all figures")
	pageFile    = flag.String("page", "performance.md", "where to write the page")
	work        = flag.String("work", "/var/tmp", "where to keep the servers' data meanwhile; a real disk, fsync is part of the figures")
)

func main() {
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) (err error) {
	launchers, err := chosenLaunchers()
	if err != nil {
		return err
	}
	directory, err := os.MkdirTemp(*work, "chancery-bench-")
	if err != nil {
		return err
	}
	if err := os.Chmod(directory, 0o755); err != nil { // PostgreSQL may run as another user
		return err
	}
	defer func() {
		if err != nil {
			progress("logs and data are left in %s", directory)
			return
		}
		err = os.RemoveAll(directory)
	}()
	var targets []*Target
	for i, chosen := range launchers {
		progress("starting %s", chosen.name)
		own := filepath.Join(directory, fmt.Sprintf("%d-%s", i+1, chosen.name)) // Synapse may be measured against itself
		target, err := StartTarget(ctx, chosen.name, own, chosen.readyPath, chosen.launch)
		if err != nil {
			return err
		}
		defer target.Stop()
		context.AfterFunc(ctx, target.Interrupt)
		targets = append(targets, target)
	}
	report, err := measureAll(ctx, targets)
	if err != nil {
		return err
	}
	if err := report.WriteFiles(*jsonFile, *pageFile); err != nil {
		return err
	}
	return report.WritePage(os.Stdout)
}

type choice struct {
	name, readyPath string
	launch          launcher
}

func chosenLaunchers() ([]choice, error) {
	var chosen []choice
	for _, name := range strings.Split(*targetNames, ",") {
		switch name {
		case "chancery":
			binary := os.Getenv("CHANCERY_BINARY")
			if binary == "" {
				return nil, errors.New("CHANCERY_BINARY has to name the server's release binary")
			}
			chosen = append(chosen, choice{name, "/ready", launchChancery(binary)})
		case "synapse":
			cache, err := os.UserCacheDir()
			if err != nil {
				return nil, err
			}
			cache = filepath.Join(cache, "chancery", "bench")
			chosen = append(chosen, choice{name, "/health", launchSynapse(cache)})
		default:
			return nil, fmt.Errorf("unknown target %q", name)
		}
	}
	return chosen, nil
}

// measureAll fills the targets, then runs measure after measure, the targets taking turns.
func measureAll(ctx context.Context, targets []*Target) (*Report, error) {
	report := &Report{
		Command: "make bench", Date: today(), Machine: machine(), Postgres: targets[0].postgres.Version, Runs: *runs,
		Targets: make([]TargetReport, len(targets)),
	}
	for i, target := range targets {
		progress("filling %s", target.Name)
		world, err := BuildWorld(target.Address)
		if err != nil {
			return nil, fmt.Errorf("filling %s: %w", target.Name, err)
		}
		target.world = world
		report.Targets[i] = TargetReport{
			Name: target.Name, Version: target.Version,
			Medians: map[string]Figures{}, Single: map[string][]Figures{},
		}
	}
	for _, measure := range measures {
		for run := range *runs + 1 { // the first one warms up
			for i, target := range targets {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				figures, err := measure.Run(target)
				if err != nil {
					return nil, fmt.Errorf("%s of %s: %w", measure.Name, target.Name, err)
				}
				progress("%s, run %d, %s: %s per second, p99 %s ms", measure.Name, run, target.Name,
					number(figures.PerSecond), number(figures.P99))
				if run > 0 {
					report.Targets[i].Single[measure.Name] = append(report.Targets[i].Single[measure.Name], figures)
				}
			}
		}
		for i := range targets {
			report.Targets[i].Medians[measure.Name] = Median(report.Targets[i].Single[measure.Name])
		}
	}
	for i, target := range targets {
		target.WaitUntilIdle()
		report.Targets[i].ResidentMiB = residentMiB(target.server.PID(), "VmRSS")
		report.Targets[i].PeakMiB = residentMiB(target.server.PID(), "VmHWM")
	}
	if len(targets) == 2 {
		report.Goals = judge(report.Targets[0], report.Targets[1])
	}
	return report, nil
}

func progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, arguments...)...)
}
