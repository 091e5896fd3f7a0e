package controller

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func ExampleQueue() {
	q := NewQueue[string](QueueConfig{})
	defer q.Close()
	q.Add("a")
	q.Add("b")
	q.Add("a") // already in it
	for range 2 {
		key, err := q.Get(context.Background())
		fmt.Println(key, err)
		q.Done(key)
	}
	fmt.Println(q.AddRateLimited("b"), q.AddRateLimited("b"))
	// Output:
	// a <nil>
	// b <nil>
	// 5ms 10ms
}

func TestQueueRunsAgainWhatWasAddedMeanwhile(t *testing.T) {
	ctx := t.Context()
	q := NewQueue[int](QueueConfig{})
	q.Add(1)
	key, err := q.Get(ctx)
	require.NoError(t, err)
	q.Add(1)
	q.Add(1)
	require.Zero(t, q.Len(), "a key that is worked on must not be handed out")
	q.Done(key)
	require.Equal(t, 1, q.Len())
	_, err = q.Get(ctx)
	require.NoError(t, err)
	q.Done(1)
	require.Zero(t, q.Len())
}

func TestQueueCloseEndsGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue[int](QueueConfig{})
		errs := make(chan error)
		for range 3 {
			go func() {
				_, err := q.Get(context.Background())
				errs <- err
			}()
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, err := q.Get(ctx)
			errs <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-errs, context.Canceled)
		require.NoError(t, q.Close())
		for range 3 {
			require.ErrorIs(t, <-errs, ErrClosed)
		}
		q.Add(1)
		q.AddAfter(1, time.Second)
		require.Zero(t, q.Len())
	})
}

func TestQueueBackOffIsBounded(t *testing.T) {
	q := NewQueue[int](QueueConfig{BaseDelay: time.Millisecond, MaxDelay: time.Second})
	defer q.Close()
	for range 200 {
		d := q.AddRateLimited(1)
		require.Positive(t, d)
		require.LessOrEqual(t, d, time.Second)
	}
	q.Forget(1)
	require.Equal(t, time.Millisecond, q.AddRateLimited(1))
}

func TestQueueWakesEveryGetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue[int](QueueConfig{})
		defer q.Close()
		got := make(chan int, 10)
		for range 10 {
			go func() {
				key, err := q.Get(context.Background())
				require.NoError(t, err)
				got <- key
			}()
		}
		synctest.Wait()
		for n := range 10 {
			q.Add(n)
		}
		synctest.Wait()
		require.Len(t, got, 10)
	})
}

// naiveQueue is a Queue without any data structure: lists, and a clock that the test moves.
type naiveQueue struct {
	now      time.Duration
	ready    []byte
	working  map[byte]bool
	delayed  []naiveDelay // in the order in which they were asked for
	failures map[byte]int
}

type naiveDelay struct {
	key byte
	at  time.Duration
}

func (m *naiveQueue) add(key byte) {
	if _, ok := m.working[key]; ok {
		m.working[key] = true
	} else if !slices.Contains(m.ready, key) {
		m.ready = append(m.ready, key)
	}
}

func (m *naiveQueue) addAfter(key byte, d time.Duration) {
	at := slices.IndexFunc(m.delayed, func(d naiveDelay) bool { return d.key == key })
	switch {
	case d <= 0:
		m.add(key)
		return
	case at >= 0 && m.delayed[at].at <= m.now+d:
		return
	case at >= 0:
		m.delayed = slices.Delete(m.delayed, at, at+1)
	}
	m.delayed = append(m.delayed, naiveDelay{key, m.now + d})
}

func (m *naiveQueue) pass(d time.Duration) {
	m.now += d
	due := slices.Clone(m.delayed)
	slices.SortStableFunc(due, func(a, b naiveDelay) int { return int(a.at - b.at) })
	for _, d := range due {
		if d.at <= m.now {
			m.delayed = slices.DeleteFunc(m.delayed, func(o naiveDelay) bool { return o.key == d.key })
			m.add(d.key)
		}
	}
}

// FuzzQueue compares a Queue with the naive one. Each byte is an operation: 3 bits what, 2 bits which key, 3 bits how
// long.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0x00, 0x20, 0x41, 0x82, 0xa3, 0xc0, 0xe0, 0x47, 0xff, 0x20, 0x00, 0x60})
	f.Add([]byte{0x47, 0x41, 0xe2, 0xa0, 0x00, 0xc0, 0xa0})             // a delay that is shortened, a key that runs again
	f.Add([]byte{0x60, 0x60, 0x60, 0x60, 0xe4, 0x80, 0x60, 0xe7, 0xe7}) // back-off, forgotten
	f.Add([]byte("every byte is an operation, so any text is a program"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		synctest.Test(t, func(t *testing.T) { compareQueues(t, ops) })
	})
}

func compareQueues(t *testing.T, ops []byte) {
	q := NewQueue[byte](QueueConfig{BaseDelay: 2 * time.Second, MaxDelay: 12 * time.Second})
	defer q.Close()
	m := &naiveQueue{working: map[byte]bool{}, failures: map[byte]int{}}
	for n, op := range ops {
		key, length := op>>3&3, time.Duration(op&7)*time.Second
		switch op >> 5 {
		case 0, 1:
			q.Add(key)
			m.add(key)
		case 2:
			q.AddAfter(key, length)
			m.addAfter(key, length)
		case 3:
			d := min(12*time.Second, 2*time.Second<<min(m.failures[key], 10))
			m.failures[key]++
			require.Equal(t, d, q.AddRateLimited(key))
			m.addAfter(key, d)
		case 4:
			q.Forget(key)
			delete(m.failures, key)
		case 5:
			if len(m.ready) == 0 {
				break
			}
			got, err := q.Get(t.Context())
			require.NoError(t, err)
			require.Equal(t, m.ready[0], got, "step %d", n)
			m.ready = m.ready[1:]
			m.working[got] = false
		case 6:
			q.Done(key)
			if again, ok := m.working[key]; ok {
				delete(m.working, key)
				if again {
					m.add(key)
				}
			}
		case 7:
			<-time.After(length)
			synctest.Wait()
			m.pass(length)
		}
		require.Equal(t, len(m.ready), q.Len(), "step %d", n)
	}
	// Let everything happen: each key comes out in the model's order.
	<-time.After(time.Hour)
	synctest.Wait()
	m.pass(time.Hour)
	for key := range byte(4) {
		q.Done(key)
		if again, ok := m.working[key]; ok && again {
			delete(m.working, key)
			m.add(key)
		}
	}
	for _, want := range m.ready {
		got, err := q.Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
		q.Done(got)
	}
	_, busy := q.idle()
	require.Nil(t, busy)
}
