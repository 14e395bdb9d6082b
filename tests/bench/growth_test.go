package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func growthReport() *Report {
	measures := forSizes("members", []int{200, 2000}, noLimit, func(int) []Measure {
		return []Measure{{Name: "join"}, {Name: "memory", inMiB: true}}
	})
	return reportOf(
		map[string]Figures{
			"join (200 members)":    {ServerCPU: 1, PostgresCPU: 1, P50: 3},
			"join (2000 members)":   {ServerCPU: 2, PostgresCPU: 1, P50: 4},
			"memory (200 members)":  {MiB: 1},
			"memory (2000 members)": {MiB: 8},
		},
		map[string]Figures{"join (200 members)": {ServerCPU: 50, P50: 60}},
		measures,
	)
}

func TestGrowthIsWrittenByAxis(t *testing.T) {
	report := growthReport()
	var page strings.Builder
	if err := report.WritePage(&page); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| members | server | 200 | 2,000 | growth |",
		"| join | chancery | 2.00 / 3.00 | 3.00 / 4.00 | 1.50× |",
		"| join | synapse | 50.0 / 60.0 |  |  |",
		"| memory | chancery | 1.00 MiB | 8.00 MiB | 8.00× |",
	} {
		if !strings.Contains(page.String(), line) {
			t.Errorf("the page lacks %q:\n%s", line, page.String())
		}
	}
	if rows := report.Rows(); len(rows) != 0 {
		t.Errorf("figures of an axis are among all figures: %v", rows)
	}
}

func TestPlotIsWellFormedAndHasALineForEachServer(t *testing.T) {
	decoder := xml.NewDecoder(strings.NewReader(Plot(growthReport().Growth())))
	lines := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if element, is := token.(xml.StartElement); is && element.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 2 {
		t.Errorf("%d lines are drawn", lines)
	}
}

func TestScalesAreLogarithmic(t *testing.T) {
	low, high := decades([]float64{0.3, 40})
	if low != 0.1 || high != 100 {
		t.Errorf("decades are %v to %v", low, high)
	}
	if got := (scale{0.1, 100, 0, 30}).at(1); math.Abs(got-10) > 1e-9 {
		t.Errorf("1 is at %v", got)
	}
}

func TestThousandsAreSetApart(t *testing.T) {
	for number, want := range map[int]string{7: "7", 200: "200", 2000: "2,000", 1_020_003: "1,020,003"} {
		if got := thousands(number); got != want {
			t.Errorf("%d is written %s", number, got)
		}
	}
}
