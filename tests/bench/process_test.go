package main

import (
	"os"
	"testing"
	"time"
)

func TestProcessorTimeOfATreeCountsWorkAsItIsDone(t *testing.T) {
	before := processorTime(os.Getpid())
	for start := time.Now(); time.Since(start) < 3*time.Millisecond; {
	}
	used := processorTime(os.Getpid()) - before
	if used <= 0 || used%(time.Second/ticksPerSecond) == 0 {
		t.Errorf("3 ms of work were counted as %v", used)
	}
}

func TestProcessorClockOfNobodyIsUnknown(t *testing.T) {
	const nobody = 1 << 22 // more than any process id
	if used, known := processorClock(nobody); known {
		t.Errorf("a process that is not there has used %v", used)
	}
}
