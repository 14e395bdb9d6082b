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
	only        = flag.String("only", "", "which measures to take, comma-separated names (default: all); then no files are written")
	runs        = flag.Int("runs", 3, "measured runs of each measure")
	quick       = flag.Bool("quick", false, "measure small sizes, once and without warming up, to see that everything works; then no files are written")
	patient     = flag.Bool("patient", false, "fill Synapse for the largest sizes, too, which takes more than an hour")
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
	chosen, err := chosenSoftware()
	if err != nil {
		return err
	}
	if *quick {
		makeQuick()
	}
	all := measures()
	if *quick {
		all = quickMeasures(all)
	}
	wanted, err := chosenMeasures(all, *only)
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
	for i, software := range chosen {
		progress("starting %s", software.Name)
		own := filepath.Join(directory, fmt.Sprintf("%d-%s", i+1, software.Name)) // Synapse may be measured against itself
		target, err := StartTarget(ctx, software, own)
		if err != nil {
			return err
		}
		defer target.Stop()
		targets = append(targets, target)
	}
	report, err := measureAll(ctx, wanted, targets, directory)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if *only == "" && !*quick {
		if err := report.WriteFiles(*jsonFile, *pageFile); err != nil {
			return err
		}
	}
	return report.WritePage(os.Stdout)
}

func chosenSoftware() ([]Software, error) {
	var chosen []Software
	for _, name := range strings.Split(*targetNames, ",") {
		switch name {
		case "chancery":
			binary := os.Getenv("CHANCERY_BINARY")
			if binary == "" {
				return nil, errors.New("CHANCERY_BINARY has to name the server's release binary")
			}
			chosen = append(chosen, Chancery(binary))
		case "synapse":
			cache, err := os.UserCacheDir()
			if err != nil {
				return nil, err
			}
			chosen = append(chosen, Synapse(filepath.Join(cache, "chancery", "bench")))
		default:
			return nil, fmt.Errorf("unknown target %q", name)
		}
	}
	return chosen, nil
}

// measureAll runs measure after measure, the targets taking turns.
func measureAll(ctx context.Context, wanted []Measure, targets []*Target, directory string) (*Report, error) {
	report := newReport(targets, wanted)
	for _, measure := range wanted {
		for _, target := range targets {
			if !measure.skips(target.Name) {
				if err := target.fill(measure.part); err != nil {
					return nil, err
				}
			}
		}
		first, last := 0, *runs // the first one warms up
		if measure.once || *quick {
			first, last = 1, 1
		}
		for run := first; run <= last; run++ {
			if err := measureOnce(ctx, measure, run, targets, directory, report); err != nil {
				return nil, fmt.Errorf("%s: %w", measure.key(), err)
			}
		}
	}
	report.Goals = report.judge()
	return report, nil
}

// measureOnce is one run of a measure on all targets, and of its baseline.
func measureOnce(ctx context.Context, measure Measure, run int, targets []*Target, directory string, report *Report) error {
	note := func(who string, figures Figures) {
		progress("%s, run %d, %s: %s", measure.key(), run, who, figures)
		if run > 0 {
			report.add(who, measure, figures)
		}
	}
	for _, target := range targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		if measure.skips(target.Name) {
			continue
		}
		figures, err := measure.Run(target)
		if err != nil {
			return fmt.Errorf("%s: %w", target.Name, err)
		}
		note(target.Name, figures)
	}
	if measure.baseline == nil {
		return nil
	}
	figures, err := measure.RunBaseline(filepath.Join(directory, objectStore))
	if err == nil {
		note(objectStore, figures)
	}
	return err
}

func progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, arguments...)...)
}
