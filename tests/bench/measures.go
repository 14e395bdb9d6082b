package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Measure is one thing that is measured. Its part of the world is filled once; prepare and finish come before and after
// each run and are not timed.
type Measure struct {
	Name    string
	part    *Part
	prepare func(*Target) error
	run     func(*Target, *Stopwatch) error
	finish  func(*Target) error
	// baseline does the same without any server, in a folder, to compare with.
	baseline func(folder string, watch *Stopwatch) error
	// axis and size say for which size of what a growing figure is taken.
	axis string
	size int
	// inMiB says that the figure is memory.
	inMiB bool
	// once is for what is not repeated.
	once bool
	// except names a server that is not measured.
	except string
	// slow says that filling Synapse for it takes very long.
	slow bool
}

// Part is something that a target has to hold before certain measures.
type Part struct {
	name string
	fill func(*Target) error
}

// measures are all of them, in the order in which they run.
func measures() []Measure {
	return slices.Concat(
		messageMeasures, syncMeasures, residentMeasures, keyMeasures, mediaMeasures, processMeasures, federationMeasures, waitingMeasures(),
		roomsMeasures, membersMeasures, eventsMeasures, usersMeasures,
	)
}

// quickSizes are the largest sizes that a quick run measures.
var quickSizes = map[string]int{roomsAxis: 50, membersAxis: 200, eventsAxis: 100, usersAxis: 1000}

// makeQuick makes everything small that takes long: a quick run shows that all measures work, and their figures mean
// little.
func makeQuick() {
	*runs, loopTime = 1, 500*time.Millisecond
	waitingClients, waitingCrowd, waitingTime = 100, 200, 10*time.Second
	burstSize = 100
}

// quickMeasures are those whose sizes are small.
func quickMeasures(all []Measure) []Measure {
	return slices.DeleteFunc(all, func(measure Measure) bool {
		return measure.axis != "" && measure.size > quickSizes[measure.axis]
	})
}

// key names a measure and its size.
func (m Measure) key() string { return measureKey(m.Name, m.axis, m.size) }

func measureKey(name, axis string, size int) string {
	if axis == "" {
		return name
	}
	return fmt.Sprintf("%s (%d %s)", name, size, axis)
}

// chosenMeasures are those whose name, axis or key is in a comma-separated list; all if it is empty.
func chosenMeasures(all []Measure, list string) ([]Measure, error) {
	if list == "" {
		return all, nil
	}
	var chosen []Measure
	for _, wanted := range strings.Split(list, ",") {
		before := len(chosen)
		for _, measure := range all {
			if slices.Contains([]string{measure.Name, measure.axis, measure.key()}, wanted) {
				chosen = append(chosen, measure)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("there is no measure %q; there are: %s", wanted, strings.Join(names(all), ", "))
		}
	}
	return chosen, nil
}

// names lists what can be chosen.
func names(all []Measure) []string {
	var names []string
	for _, measure := range all {
		for _, name := range []string{measure.Name, measure.axis} {
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// skips says that a server is not measured.
func (m Measure) skips(server string) bool {
	return server == m.except || m.slow && server == "synapse" && !*patient
}

// fill makes the target hold a part, unless it does already.
func (t *Target) fill(part *Part) error {
	if part == nil || t.world.filled[part] {
		return nil
	}
	progress("filling %s: %s", t.Name, part.name)
	if err := part.fill(t); err != nil {
		return fmt.Errorf("filling %s: %s: %w", t.Name, part.name, err)
	}
	t.world.filled[part] = true
	return nil
}

// Run measures one run.
func (m Measure) Run(target *Target) (Figures, error) {
	if m.prepare != nil {
		if err := m.prepare(target); err != nil {
			return Figures{}, err
		}
	}
	target.WaitUntilIdle()
	watch := NewStopwatch(target.Used)
	err := m.run(target, watch)
	watch.stop()
	if err == nil && m.finish != nil {
		err = m.finish(target)
	}
	return watch.figures(), err
}

// RunBaseline measures one run of the baseline.
func (m Measure) RunBaseline(folder string) (Figures, error) {
	watch := NewStopwatch(baselineUsed)
	err := m.baseline(folder, watch)
	watch.stop()
	return watch.figures(), err
}
