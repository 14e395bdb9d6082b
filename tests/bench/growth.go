package main

import (
	"math"
	"slices"
	"strconv"
)

// Sizes of an axis up to this limit are measured of Synapse, too.
const (
	synapseMembers = 2000
	synapseRooms   = 500
	noLimit        = math.MaxInt
)

// forSizes makes the measures of an axis, size by size.
func forSizes(axis string, sizes []int, synapseLimit int, make func(size int) []Measure) []Measure {
	var all []Measure
	for _, size := range sizes {
		for _, measure := range make(size) {
			measure.axis, measure.size, measure.slow = axis, size, size > synapseLimit
			all = append(all, measure)
		}
	}
	return all
}

// thousands writes a number with commas.
func thousands(number int) string {
	if number < 1000 {
		return strconv.Itoa(number)
	}
	rest := strconv.Itoa(number%1000 + 1000)[1:]
	return thousands(number/1000) + "," + rest
}

// Axis is what grows, with the figures of all sizes.
type Axis struct {
	Name  string
	Sizes []int
	Lines []Line
}

// Line is how one operation's figures grow at one server. Sizes that were not measured have none.
type Line struct {
	Measure, Server string
	InMiB           bool
	Figures         map[int]Figures
}

// Growth gathers the figures by axis.
func (r *Report) Growth() []Axis {
	var axes []Axis
	for _, measure := range r.measures {
		if measure.axis == "" {
			continue
		}
		if len(axes) == 0 || axes[len(axes)-1].Name != measure.axis {
			axes = append(axes, Axis{Name: measure.axis})
		}
		axis := &axes[len(axes)-1]
		if !slices.Contains(axis.Sizes, measure.size) {
			axis.Sizes = append(axis.Sizes, measure.size)
		}
		for _, target := range r.Targets {
			if figures, found := target.Medians[measure.key()]; found {
				axis.line(measure, target.Name).Figures[measure.size] = figures
			}
		}
	}
	return axes
}

// line is the line of a measure at a server, new if need be.
func (a *Axis) line(measure Measure, server string) *Line {
	for i := range a.Lines {
		if a.Lines[i].Measure == measure.Name && a.Lines[i].Server == server {
			return &a.Lines[i]
		}
	}
	a.Lines = append(a.Lines, Line{measure.Name, server, measure.inMiB, map[int]Figures{}})
	return &a.Lines[len(a.Lines)-1]
}

// Value is the figure that is compared: processor time, or memory.
func (l Line) Value(size int) (float64, bool) {
	figures, found := l.Figures[size]
	if l.InMiB {
		return figures.MiB, found
	}
	return figures.CPU(), found
}

// Cell shows the figures of a size: processor time and median, or memory.
func (l Line) Cell(size int) string {
	value, found := l.Value(size)
	switch {
	case !found:
		return ""
	case l.InMiB:
		return number(value) + " MiB"
	}
	return number(value) + " / " + number(l.Figures[size].P50)
}

// Factor says how many times the first size's figure the last size's is.
func (a Axis) Factor(line Line) string {
	first, known := line.Value(a.Sizes[0])
	last, lastKnown := line.Value(a.Sizes[len(a.Sizes)-1])
	if !known || !lastKnown || first <= 0 {
		return ""
	}
	return number(last/first) + "×"
}
