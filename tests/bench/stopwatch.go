package main

import (
	"sort"
	"sync"
	"syscall"
	"time"
)

// Stopwatch collects the times of single operations, and meanwhile the processor time of all who take part.
type Stopwatch struct {
	MiB     float64 // of memory, for measures of memory
	used    func() (server, postgres time.Duration)
	mutex   sync.Mutex
	samples []time.Duration
	total   usage
	resumed usage
}

// usage is what has been used up to a moment, or between two.
type usage struct{ wall, server, postgres, generator time.Duration }

var started = time.Now()

// NewStopwatch starts a stopwatch; used tells how much processor time those who are measured have used.
func NewStopwatch(used func() (server, postgres time.Duration)) *Stopwatch {
	watch := &Stopwatch{used: used}
	watch.resumed = watch.usage()
	return watch
}

func (w *Stopwatch) usage() usage {
	var self syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &self) // cannot fail with these arguments
	server, postgres := w.used()
	return usage{
		wall:      time.Since(started),
		server:    server,
		postgres:  postgres,
		generator: time.Duration(self.Utime.Nano() + self.Stime.Nano()),
	}
}

// Time adds the duration of one operation, unless it fails.
func (w *Stopwatch) Time(operation func() error) error {
	start := time.Now()
	err := operation()
	if err == nil {
		w.Add(time.Since(start))
	}
	return err
}

// Add adds a duration that was measured otherwise.
func (w *Stopwatch) Add(sample time.Duration) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.samples = append(w.samples, sample)
}

// Pause does something that does not count.
func (w *Stopwatch) Pause(uncounted func()) {
	w.stop()
	uncounted()
	w.resumed = w.usage()
}

func (w *Stopwatch) stop() {
	now := w.usage()
	w.total.wall += now.wall - w.resumed.wall
	w.total.server += now.server - w.resumed.server
	w.total.postgres += now.postgres - w.resumed.postgres
	w.total.generator += now.generator - w.resumed.generator
}

// Figures are the results of a run, or medians over runs. Times are milliseconds.
type Figures struct {
	Operations   float64 `json:"operations"`
	PerSecond    float64 `json:"per_second"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	ServerCPU    float64 `json:"server_cpu_ms_per_operation"`
	PostgresCPU  float64 `json:"postgres_cpu_ms_per_operation"`
	GeneratorCPU float64 `json:"generator_cpu_ms_per_operation"`
	MiB          float64 `json:"mib,omitempty"`
}

// CPU is the processor time of an operation, of the server and its cluster together.
func (f Figures) CPU() float64 { return f.ServerCPU + f.PostgresCPU }

func (w *Stopwatch) figures() Figures {
	sort.Slice(w.samples, func(i, j int) bool { return w.samples[i] < w.samples[j] })
	count := float64(max(len(w.samples), 1))
	each := func(d time.Duration) float64 { return milliseconds(d) / count }
	return Figures{
		Operations:   float64(len(w.samples)),
		PerSecond:    float64(len(w.samples)) / w.total.wall.Seconds(),
		P50:          milliseconds(percentile(w.samples, 50)),
		P99:          milliseconds(percentile(w.samples, 99)),
		ServerCPU:    each(w.total.server),
		PostgresCPU:  each(w.total.postgres),
		GeneratorCPU: each(w.total.generator),
		MiB:          w.MiB,
	}
}

// Median takes each figure's median over the runs.
func Median(runs []Figures) Figures {
	of := func(field func(Figures) float64) float64 {
		values := make([]float64, len(runs))
		for i, run := range runs {
			values[i] = field(run)
		}
		return median(values)
	}
	return Figures{
		Operations:   of(func(f Figures) float64 { return f.Operations }),
		PerSecond:    of(func(f Figures) float64 { return f.PerSecond }),
		P50:          of(func(f Figures) float64 { return f.P50 }),
		P99:          of(func(f Figures) float64 { return f.P99 }),
		ServerCPU:    of(func(f Figures) float64 { return f.ServerCPU }),
		PostgresCPU:  of(func(f Figures) float64 { return f.PostgresCPU }),
		GeneratorCPU: of(func(f Figures) float64 { return f.GeneratorCPU }),
		MiB:          of(func(f Figures) float64 { return f.MiB }),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile takes sorted samples: the smallest that so many per cent do not exceed.
func percentile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sort.Float64s(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
