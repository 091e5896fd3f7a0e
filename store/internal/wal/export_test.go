package wal

import "testing"

// SegmentName is for tests that also need package store, and so can't be of this package.
func SegmentName(number uint64) string { return segmentName(number) }

// FrameEnds returns where each frame of a segment ends.
func FrameEnds(t *testing.T, p []byte) []int {
	ends, _ := frames(t, p)
	return ends
}
