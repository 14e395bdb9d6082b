package main

import "fmt"

// GoalReport says how one figure of Chancery compares with what stands beside it.
type GoalReport struct {
	What    string  `json:"what"`
	Figure  float64 `json:"figure"`
	Beside  string  `json:"beside"`
	Other   float64 `json:"other"`
	Ratio   float64 `json:"ratio"`
	Goal    string  `json:"goal"`
	Reached bool    `json:"reached"`
}

// reading is one figure of a measure.
type reading struct {
	server, key string
	of          func(Figures) float64
}

// bound is a limit to a figure, or to its ratio to the other one.
type bound struct {
	atLeast bool // else: at most
	limit   float64
	ratio   bool
}

type goal struct {
	what   string
	ours   reading
	beside string // what the other figure is, if it is not Synapse's
	other  reading
	bound  bound
}

func perSecond(f Figures) float64 { return f.PerSecond }
func p50(f Figures) float64       { return f.P50 }
func p99(f Figures) float64       { return f.P99 }
func mebibytes(f Figures) float64 { return f.MiB }

func times(limit float64) bound       { return bound{true, limit, true} }
func atMostTimes(limit float64) bound { return bound{false, limit, true} }

// besideSynapse compares the same figure of both servers.
func besideSynapse(what, key string, of func(Figures) float64, bound bound) goal {
	return goal{what, reading{"chancery", key, of}, "Synapse", reading{"synapse", key, of}, bound}
}

// besideOwn compares with another figure of ours.
func besideOwn(what, key, beside, other string, of func(Figures) float64, bound bound) goal {
	return goal{what, reading{"chancery", key, of}, beside, reading{"chancery", other, of}, bound}
}

// besideFiles compares with what needs no server.
func besideFiles(what, key string) goal {
	ours, other := reading{"chancery", key, Figures.CPU}, reading{objectStore, key, Figures.CPU}
	return goal{what, ours, "object_store", other, atMostTimes(1.3)}
}

func emptySyncIn(rooms int) string { return measureKey("empty sync", roomsAxis, rooms) }

var goals = []goal{
	besideSynapse("messages sent per second, 8 senders", "send", perSecond, times(10)),
	besideSynapse("delivery to 200 waiting users, p99 ms", "fanout", p99, atMostTimes(0.2)),
	besideSynapse("empty incremental syncs per second", "empty sync", perSecond, times(10)),
	besideSynapse("initial sync of 50 rooms, median ms", "initial sync", p50, atMostTimes(0.2)),
	besideSynapse("resident memory afterwards, MiB", "resident memory", mebibytes, atMostTimes(0.5)),
	besideSynapse("upload of a device's keys, CPU ms", "keys upload", Figures.CPU, atMostTimes(0.1)),
	besideSynapse("query of 40 users' keys, CPU ms", "keys query", Figures.CPU, atMostTimes(0.1)),
	besideSynapse("claim of 40 devices' keys, CPU ms", "keys claim", Figures.CPU, atMostTimes(0.1)),
	besideSynapse("to-device message to 40 devices, CPU ms", "to-device", Figures.CPU, atMostTimes(0.1)),
	besideSynapse("upload of 1 MiB, CPU ms", "media up", Figures.CPU, atMostTimes(1)),
	besideFiles("upload of 1 MiB, CPU ms", "media up"),
	besideSynapse("download of 1 MiB, CPU ms", "media down", Figures.CPU, atMostTimes(1)),
	besideFiles("download of 1 MiB, CPU ms", "media down"),
	besideOwn("messages into one room per second, two processes", "one room by two processes", "one process",
		"one room", perSecond, bound{true, 1500, false}),
	besideSynapse("message of another server to a waiting user, median ms", "peer message", p50, atMostTimes(0.1)),
	besideSynapse("message of another server to a waiting user, CPU ms", "peer message", Figures.CPU, atMostTimes(0.05)),
	besideSynapse("50 messages of another server, CPU ms", "peer transaction", Figures.CPU, atMostTimes(0.067)),
	besideSynapse("join of another server's large room, median ms", "remote join", p50, atMostTimes(0.1)),
	besideSynapse("2,000 messages to another server, median ms", "burst to a peer", p50, atMostTimes(0.1)),
	besideSynapse("1,000 waiting clients, MiB more", "1000 waiting clients", mebibytes, bound{false, 20, false}),
	besideOwn("empty sync in 5,000 rooms, CPU ms", emptySyncIn(5000), "in 10 rooms", emptySyncIn(10), Figures.CPU,
		atMostTimes(1.3)),
}

// judge compares where both figures are there.
func (r *Report) judge() []GoalReport {
	var reports []GoalReport
	for _, goal := range goals {
		ours, known := r.median(goal.ours.server, goal.ours.key)
		other, otherKnown := r.median(goal.other.server, goal.other.key)
		if known && otherKnown {
			reports = append(reports, goal.report(goal.ours.of(ours), goal.other.of(other)))
		}
	}
	return reports
}

func (g goal) report(ours, other float64) GoalReport {
	report := GoalReport{What: g.what, Figure: ours, Beside: g.beside, Other: other, Ratio: ours / other}
	value, unit := ours, ""
	if g.bound.ratio {
		value, unit = report.Ratio, "×"
	}
	if g.bound.atLeast {
		report.Goal, report.Reached = fmt.Sprintf("≥ %g%s", g.bound.limit, unit), value >= g.bound.limit
	} else {
		report.Goal, report.Reached = fmt.Sprintf("≤ %g%s", g.bound.limit, unit), value <= g.bound.limit
	}
	return report
}
