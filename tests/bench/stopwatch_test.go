package main

import (
	"testing"
	"time"
)

func TestPercentileIsTheSmallestSampleThatCoversTheShare(t *testing.T) {
	samples := make([]time.Duration, 200)
	for i := range samples {
		samples[i] = time.Duration(i + 1)
	}
	for percent, want := range map[int]time.Duration{50: 100, 99: 198, 100: 200} {
		if got := percentile(samples, percent); got != want {
			t.Errorf("percentile %d is %d, not %d", percent, got, want)
		}
	}
	if got := percentile(samples[:1], 99); got != 1 {
		t.Errorf("percentile of one sample is %d", got)
	}
}

func TestMedianOfRunsIsTakenFigureByFigure(t *testing.T) {
	got := Median([]Figures{{P50: 1, P99: 9}, {P50: 3, P99: 7}, {P50: 2, P99: 8}})
	if got.P50 != 2 || got.P99 != 8 {
		t.Errorf("median is %+v", got)
	}
	if even := median([]float64{4, 1, 3, 2}); even != 2.5 {
		t.Errorf("median of an even count is %v", even)
	}
}

func TestStringFieldReadsATopLevelName(t *testing.T) {
	got, err := stringField([]byte(`{"rooms":{}, "next_batch" : "s1_2"}`), "next_batch")
	if err != nil || got != "s1_2" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := stringField([]byte(`{"next_batch":7}`), "next_batch"); err == nil {
		t.Error("a number was taken for a string")
	}
}
