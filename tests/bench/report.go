package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/template"
	"time"

	_ "embed"
)

//go:embed performance.md.tmpl
var performancePage string

// Report is all that was found out, as it is written to the JSON file.
type Report struct {
	Command  string         `json:"command"`
	Date     string         `json:"date"`
	Machine  string         `json:"machine"`
	Postgres string         `json:"postgres"`
	Runs     int            `json:"runs"`
	Targets  []TargetReport `json:"targets"`
	Goals    []GoalReport   `json:"goals,omitempty"`
}

// TargetReport holds one server's figures by measure, and its memory when all was done.
type TargetReport struct {
	Name        string               `json:"name"`
	Version     string               `json:"version"`
	Medians     map[string]Figures   `json:"medians"`
	Single      map[string][]Figures `json:"runs"`
	ResidentMiB float64              `json:"resident_mib"`
	PeakMiB     float64              `json:"peak_resident_mib"`
}

// GoalReport says how one figure of Chancery compares with Synapse's.
type GoalReport struct {
	What     string  `json:"what"`
	Chancery float64 `json:"chancery"`
	Synapse  float64 `json:"synapse"`
	Ratio    float64 `json:"ratio"`
	Goal     string  `json:"goal"`
	Reached  bool    `json:"reached"`
}

type goal struct {
	what    string
	atLeast bool // else: at most
	ratio   float64
	figure  func(TargetReport) float64
}

var goals = []goal{
	{"messages sent per second, 8 senders", true, 10, func(t TargetReport) float64 { return t.Medians["send"].PerSecond }},
	{"delivery to 200 waiting users, p99 ms", false, 0.2, func(t TargetReport) float64 { return t.Medians["fanout"].P99 }},
	{"empty incremental syncs per second", true, 10, func(t TargetReport) float64 { return t.Medians["empty sync"].PerSecond }},
	{"initial sync of 50 rooms, median ms", false, 0.2, func(t TargetReport) float64 { return t.Medians["initial sync"].P50 }},
	{"resident memory afterwards, MiB", false, 0.5, func(t TargetReport) float64 { return t.ResidentMiB }},
}

// judge compares the first target with the second.
func judge(chancery, synapse TargetReport) []GoalReport {
	var reports []GoalReport
	for _, goal := range goals {
		ours, theirs := goal.figure(chancery), goal.figure(synapse)
		report := GoalReport{What: goal.what, Chancery: ours, Synapse: theirs, Ratio: ours / theirs}
		if goal.atLeast {
			report.Goal, report.Reached = fmt.Sprintf("≥ %g×", goal.ratio), report.Ratio >= goal.ratio
		} else {
			report.Goal, report.Reached = fmt.Sprintf("≤ %g×", goal.ratio), report.Ratio <= goal.ratio
		}
		reports = append(reports, report)
	}
	return reports
}

// WritePage writes the report as a Markdown page.
func (r *Report) WritePage(out io.Writer) error {
	functions := template.FuncMap{"number": number, "measures": func() []Measure { return measures }}
	page, err := template.New("page").Funcs(functions).Parse(performancePage)
	if err != nil {
		return err
	}
	return page.Execute(out, r)
}

// WriteFiles writes the JSON and the page.
func (r *Report) WriteFiles(jsonFile, pageFile string) error {
	encoded, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(jsonFile, append(encoded, '\n'), 0o644); err != nil {
		return err
	}
	page, err := os.Create(pageFile)
	if err != nil {
		return err
	}
	defer page.Close()
	return r.WritePage(page)
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

func today() string { return time.Now().UTC().Format("2006-01-02 15:04 MST") }

// machine describes what the figures were taken on.
func machine() string {
	model, memory := "unknown processor", "unknown memory"
	if file, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		model = valueOf(string(file), "model name", model)
	}
	if file, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kibibytes int
		fmt.Sscan(valueOf(string(file), "MemTotal", ""), &kibibytes)
		memory = fmt.Sprintf("%.0f GiB memory", float64(kibibytes)/(1<<20))
	}
	kernel, _ := exec.Command("uname", "-sr").Output()
	return fmt.Sprintf("%d cores (%s), %s, %s", runtime.NumCPU(), model, memory, strings.TrimSpace(string(kernel)))
}

func valueOf(file, key, otherwise string) string {
	for _, line := range strings.Split(file, "\n") {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}
