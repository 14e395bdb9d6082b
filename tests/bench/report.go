package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/template"

	_ "embed"
)

//go:embed performance.md.tmpl
var performancePage string

// plotFile stands beside the page.
const plotFile = "performance-growth.svg"

// Report is all that was found out, as it is written to the JSON file.
type Report struct {
	Command  string         `json:"command"`
	Date     string         `json:"date"`
	Machine  string         `json:"machine"`
	Postgres string         `json:"postgres"`
	Runs     int            `json:"runs"`
	Targets  []TargetReport `json:"targets"`
	Goals    []GoalReport   `json:"goals,omitempty"`
	measures []Measure
}

// TargetReport holds one server's figures by the key of the measure.
type TargetReport struct {
	Name    string               `json:"name"`
	Version string               `json:"version,omitempty"`
	Medians map[string]Figures   `json:"medians"`
	Single  map[string][]Figures `json:"runs"`
}

func newReport(targets []*Target, measures []Measure) *Report {
	report := &Report{
		Command: "make bench", Date: today(), Machine: machine(), Postgres: targets[0].postgres.Version, Runs: *runs,
		measures: measures,
	}
	for _, target := range targets {
		report.target(target.Name).Version = target.Version
	}
	return report
}

// target is the report of a server, or of what is measured beside it.
func (r *Report) target(name string) *TargetReport {
	i := slices.IndexFunc(r.Targets, func(t TargetReport) bool { return t.Name == name })
	if i < 0 {
		i = len(r.Targets)
		r.Targets = append(r.Targets, TargetReport{
			Name: name, Medians: map[string]Figures{}, Single: map[string][]Figures{},
		})
	}
	return &r.Targets[i]
}

// add takes note of a run.
func (r *Report) add(name string, measure Measure, figures Figures) {
	target, key := r.target(name), measure.key()
	target.Single[key] = append(target.Single[key], figures)
	target.Medians[key] = Median(target.Single[key])
}

// median is what was found out about a server, if that was measured.
func (r *Report) median(name, key string) (Figures, bool) {
	for _, target := range r.Targets {
		if target.Name == name {
			figures, found := target.Medians[key]
			return figures, found
		}
	}
	return Figures{}, false
}

// WritePage writes the report as a Markdown page.
func (r *Report) WritePage(out io.Writer) error {
	functions := template.FuncMap{"number": number, "thousands": thousands, "plot": func() string { return plotFile }}
	page, err := template.New("page").Funcs(functions).Parse(performancePage)
	if err != nil {
		return err
	}
	return page.Execute(out, r)
}

// WriteFiles writes the JSON, the page, and the plot beside it.
func (r *Report) WriteFiles(jsonFile, pageFile string) error {
	encoded, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(jsonFile, append(encoded, '\n'), 0o644); err != nil {
		return err
	}
	plot := Plot(r.Growth())
	if err := os.WriteFile(filepath.Join(filepath.Dir(pageFile), plotFile), []byte(plot), 0o644); err != nil {
		return err
	}
	page, err := os.Create(pageFile)
	if err != nil {
		return err
	}
	defer page.Close()
	return r.WritePage(page)
}

// Row is a line of a table: what was measured of whom.
type Row struct {
	Measure, Server string
	Figures
}

// Rows are the figures that do not belong to an axis, without those of memory.
func (r *Report) Rows() []Row {
	return r.rows(func(m Measure) bool { return m.axis == "" && !m.inMiB })
}

// MemoryRows are the figures of memory that do not belong to an axis.
func (r *Report) MemoryRows() []Row {
	return r.rows(func(m Measure) bool { return m.axis == "" && m.inMiB })
}

func (r *Report) rows(wanted func(Measure) bool) []Row {
	var rows []Row
	for _, measure := range r.measures {
		for _, target := range r.Targets {
			if figures, found := target.Medians[measure.key()]; found && wanted(measure) {
				rows = append(rows, Row{measure.Name, target.Name, figures})
			}
		}
	}
	return rows
}

// number shows three digits, and no fewer than stand before the point.
func number(value float64) string {
	switch {
	case value >= 100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	case value >= 1:
		return fmt.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.3f", value)
}

// String says in short what a run has found.
func (f Figures) String() string {
	if f.Operations == 0 {
		return number(f.MiB) + " MiB"
	}
	return fmt.Sprintf("%s per second, p50 %s ms, p99 %s ms, CPU %s + %s ms", number(f.PerSecond), number(f.P50),
		number(f.P99), number(f.ServerCPU), number(f.PostgresCPU))
}
