package main

import (
	"strings"
	"testing"
)

func TestPageComparesWithTheGoals(t *testing.T) {
	reports := []TargetReport{
		{Name: "chancery", ResidentMiB: 60, Medians: map[string]Figures{
			"send": {Operations: 1600, PerSecond: 990, P99: 12}, "initial sync": {P50: 20}}},
		{Name: "synapse", ResidentMiB: 240, Medians: map[string]Figures{
			"send": {Operations: 1600, PerSecond: 100, P99: 120}, "initial sync": {P50: 400}}},
	}
	report := Report{Targets: reports, Goals: judge(reports[0], reports[1])}
	var page strings.Builder
	if err := report.WritePage(&page); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| messages sent per second, 8 senders | 990 | 100 | 9.90× | ≥ 10× | **missed** |",
		"| initial sync of 50 rooms, median ms | 20.0 | 400 | 0.050× | ≤ 0.2× | reached |",
		"| resident memory afterwards, MiB | 60.0 | 240 | 0.250× | ≤ 0.5× | reached |",
		"| send | chancery | 1600 | 990 | 0.000 | 12.0 |",
	} {
		if !strings.Contains(page.String(), line) {
			t.Errorf("the page lacks %q:\n%s", line, page.String())
		}
	}
}
