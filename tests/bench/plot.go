package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The plot has a panel for each axis, two beside each other, with logarithmic scales: what does not grow is a level
// line, what grows with the size rises by as much as it goes to the right.
const (
	panelWidth, panelHeight = 480, 380
	plotLeft, plotTop       = 60, 40
	plotWidth, plotHeight   = 390, 220
	legendTop               = plotTop + plotHeight + 48
)

var plotColours = []string{"#0b6e99", "#c2410c", "#15803d", "#7e22ce"}

// scale maps a range of values to a range of pixels by their logarithms.
type scale struct{ low, high, from, to float64 }

func (s scale) at(value float64) float64 {
	return s.from + (s.to-s.from)*math.Log(value/s.low)/math.Log(s.high/s.low)
}

// decades is the range in powers of ten that covers all values.
func decades(values []float64) (low, high float64) {
	low = math.Pow(10, math.Floor(math.Log10(slices.Min(values))))
	high = math.Pow(10, math.Ceil(math.Log10(slices.Max(values))))
	if low == high {
		high *= 10
	}
	return low, high
}

// Plot draws the processor time of all lines as SVG.
func Plot(axes []Axis) string {
	var svg strings.Builder
	width, height := 2*panelWidth, (len(axes)+1)/2*panelHeight
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" `, width, height,
		width, height)
	svg.WriteString(`font-family="sans-serif" font-size="12">` + "\n")
	svg.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, axis := range axes {
		fmt.Fprintf(&svg, `<g transform="translate(%d %d)">`+"\n", i%2*panelWidth, i/2*panelHeight)
		drawPanel(&svg, axis)
		svg.WriteString("</g>\n")
	}
	svg.WriteString("</svg>\n")
	return svg.String()
}

func drawPanel(svg *strings.Builder, axis Axis) {
	var values []float64
	for _, line := range axis.Lines {
		for _, size := range axis.Sizes {
			if value, found := line.Value(size); found && !line.InMiB && value > 0 {
				values = append(values, value)
			}
		}
	}
	if len(values) == 0 || len(axis.Sizes) < 2 {
		return
	}
	low, high := decades(values)
	x := scale{float64(axis.Sizes[0]), float64(axis.Sizes[len(axis.Sizes)-1]), plotLeft, plotLeft + plotWidth}
	y := scale{low, high, plotTop + plotHeight, plotTop}
	drawText(svg, plotLeft, plotTop-16, "start", "CPU ms by "+axis.Name)
	for value := low; value <= high*1.01; value *= 10 {
		drawGrid(svg, plotLeft, y.at(value), plotLeft+plotWidth, y.at(value))
		drawText(svg, plotLeft-8, y.at(value)+4, "end", fmt.Sprintf("%g", value))
	}
	for _, size := range axis.Sizes {
		drawGrid(svg, x.at(float64(size)), plotTop, x.at(float64(size)), plotTop+plotHeight)
		drawText(svg, x.at(float64(size)), plotTop+plotHeight+18, "middle", thousands(size))
	}
	var operations []string
	for _, line := range axis.Lines {
		if line.InMiB {
			continue
		}
		if !slices.Contains(operations, line.Measure) {
			operations = append(operations, line.Measure)
		}
		drawLine(svg, axis, line, slices.Index(operations, line.Measure), x, y)
	}
	drawLegend(svg, operations)
}

func drawLine(svg *strings.Builder, axis Axis, line Line, operation int, x, y scale) {
	var points []string
	colour := plotColours[operation%len(plotColours)]
	for _, size := range axis.Sizes {
		if value, found := line.Value(size); found && value > 0 {
			at := fmt.Sprintf("%.1f,%.1f", x.at(float64(size)), y.at(value))
			points = append(points, at)
			fmt.Fprintf(svg, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x.at(float64(size)), y.at(value), colour)
		}
	}
	fmt.Fprintf(svg, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "),
		colour, dash(line.Server))
}

// dash tells the servers apart.
func dash(server string) string {
	if server == "chancery" {
		return ""
	}
	return ` stroke-dasharray="6 4"`
}

func drawLegend(svg *strings.Builder, operations []string) {
	for i, operation := range operations {
		left, top := plotLeft+i%2*200, legendTop+i/2*18
		fmt.Fprintf(svg, `<rect x="%d" y="%d" width="12" height="4" fill="%s"/>`+"\n", left, top-6,
			plotColours[i%len(plotColours)])
		drawText(svg, float64(left+18), float64(top), "start", operation)
	}
	drawText(svg, plotLeft, legendTop+38, "start", "solid: Chancery, dashed: Synapse")
}

func drawGrid(svg *strings.Builder, x1, y1, x2, y2 float64) {
	fmt.Fprintf(svg, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#d4d4d4"/>`+"\n", x1, y1, x2, y2)
}

func drawText(svg *strings.Builder, x, y float64, anchor, text string) {
	fmt.Fprintf(svg, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}
