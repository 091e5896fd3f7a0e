package main

import (
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// wholeName is keelson with controllers and scheduler.
const wholeName = "keelson whole"

// footprint is the memory and the starts of one server.
type footprint struct {
	name   string
	starts []time.Duration
	memory []memoryAt
}

// memoryAt is the memory with so many pods.
type memoryAt struct {
	pods                      int
	resident, anonymous, live float64
}

func (f *footprint) at(pods int, u measure.Usage, live Memory) {
	f.memory = append(f.memory, memoryAt{pods, float64(u.Resident), float64(u.Anonymous), float64(live.Live)})
}

// with returns the median of what was measured with so many pods.
func (f *footprint) with(pods int) (m memoryAt, found bool) {
	var resident, anonymous, live []float64
	for _, m := range f.memory {
		if m.pods == pods {
			resident, anonymous, live = append(resident, m.resident), append(anonymous, m.anonymous), append(live, m.live)
		}
	}
	if len(live) == 0 {
		return m, false
	}
	return memoryAt{pods, measure.Median(resident), measure.Median(anonymous), measure.Median(live)}, true
}

// perPod is what a pod takes beyond an idle server.
func (f *footprint) perPod(pods int) (m memoryAt, found bool) {
	idle, ok := f.with(0)
	m, found = f.with(pods)
	n := float64(max(1, pods))
	return memoryAt{pods, (m.resident - idle.resident) / n, (m.anonymous - idle.anonymous) / n, (m.live - idle.live) / n}, ok && found
}
