package main

import (
	"strings"
	"testing"
)

// reportOf holds one run of each key.
func reportOf(chancery, synapse map[string]Figures, measures []Measure) *Report {
	return &Report{measures: measures, Targets: []TargetReport{
		{Name: "chancery", Medians: chancery}, {Name: "synapse", Medians: synapse},
	}}
}

func TestPageComparesWithTheGoals(t *testing.T) {
	report := reportOf(
		map[string]Figures{
			"send":            {Operations: 1600, PerSecond: 990, P99: 12},
			"initial sync":    {P50: 20},
			"resident memory": {MiB: 60},
			"keys claim":      {ServerCPU: 0.5, PostgresCPU: 0.4},
		},
		map[string]Figures{
			"send":            {Operations: 1600, PerSecond: 100, P99: 120},
			"initial sync":    {P50: 400},
			"resident memory": {MiB: 240},
			"keys claim":      {ServerCPU: 6, PostgresCPU: 4},
		},
		[]Measure{{Name: "send"}, {Name: "resident memory", inMiB: true}},
	)
	report.Goals = report.judge()
	var page strings.Builder
	if err := report.WritePage(&page); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| messages sent per second, 8 senders | 990 | Synapse | 100 | 9.90× | ≥ 10× | **missed** |",
		"| initial sync of 50 rooms, median ms | 20.0 | Synapse | 400 | 0.050× | ≤ 0.2× | reached |",
		"| resident memory afterwards, MiB | 60.0 | Synapse | 240 | 0.250× | ≤ 0.5× | reached |",
		"| claim of 40 devices' keys, CPU ms | 0.900 | Synapse | 10.0 | 0.090× | ≤ 0.1× | reached |",
		"| send | chancery | 1600 | 990 | 0.000 | 12.0 |",
		"| resident memory | chancery | 60.0 |",
	} {
		if !strings.Contains(page.String(), line) {
			t.Errorf("the page lacks %q:\n%s", line, page.String())
		}
	}
}

func TestGoalsWithoutARatioLookAtOurFigureAlone(t *testing.T) {
	report := reportOf(map[string]Figures{
		"one room": {PerSecond: 3400}, "one room by two processes": {PerSecond: 1600},
	}, nil, nil)
	goals := report.judge()
	if len(goals) != 1 || goals[0].Goal != "≥ 1500" || !goals[0].Reached || goals[0].Other != 3400 {
		t.Errorf("judged %+v", goals)
	}
}

func TestEveryGoalReadsAMeasure(t *testing.T) {
	known := map[string]bool{}
	for _, measure := range measures() {
		if known[measure.key()] {
			t.Errorf("two measures are called %q", measure.key())
		}
		known[measure.key()] = true
	}
	for _, goal := range goals {
		for _, reading := range []reading{goal.ours, goal.other} {
			if !known[reading.key] {
				t.Errorf("%q reads %q, which is no measure", goal.what, reading.key)
			}
		}
	}
}

func TestMeasuresAreChosenByNameAxisOrBoth(t *testing.T) {
	all := []Measure{{Name: "send"}, {Name: "send", axis: "members", size: 200}, {Name: "join", axis: "members", size: 200}}
	for list, want := range map[string]int{"": 3, "send": 2, "members": 2, "join": 1, "join (200 members)": 1, "leave": 0} {
		got, err := chosenMeasures(all, list)
		if len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("%q chooses %d measures, %v", list, len(got), err)
		}
	}
}

func TestNoNameHasAComma(t *testing.T) {
	for _, measure := range measures() {
		if strings.Contains(measure.key(), ",") {
			t.Errorf("%q cannot be chosen", measure.key())
		}
	}
}
