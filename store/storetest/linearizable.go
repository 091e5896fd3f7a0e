package storetest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// registerInput is an operation on one key: a read, a write, or a compare-and-swap of expect to value.
type registerInput struct {
	kind          string
	key           string
	expect, value string
}

type registerOutput struct {
	value   string
	swapped bool
}

// register is the sequential specification of a key for porcupine.
func register() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(registerInput).key
				byKey[key] = append(byKey[key], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			in, out := input.(registerInput), output.(registerOutput)
			switch in.kind {
			case "read":
				return out.value == state, state
			case "write":
				return true, in.value
			default:
				if state == in.expect {
					return out.swapped, in.value
				}
				return !out.swapped, state
			}
		},
	}
}

// testLinearizable has concurrent clients read, write and swap, and porcupine look for an order that explains what
// they saw; then it checks that a watcher saw the same values.
func testLinearizable(t *testing.T, opener Opener) {
	const clients, operations = 8, 60
	s := Open(t, opener, store.Config{})
	w := watchFrom(t, s, store.WatchRequest{Key: []byte{0}, End: []byte{0}})
	start := time.Now()
	histories := make([][]porcupine.Operation, clients)
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(client)))
			known := map[string]string{}
			for i := range operations {
				in := registerInput{kind: []string{"read", "write", "swap"}[rnd.IntN(3)], key: fmt.Sprintf("k%d", rnd.IntN(2))}
				in.value = strconv.Itoa(client) + "." + strconv.Itoa(i)
				in.expect = known[in.key]
				call := time.Since(start)
				out, err := operate(t, s, in)
				if err != nil {
					t.Error(err)
					return
				}
				switch {
				case in.kind == "read":
					known[in.key] = out.value
				case in.kind == "write" || out.swapped:
					known[in.key] = in.value
				}
				histories[client] = append(histories[client], porcupine.Operation{
					ClientId: client, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(start)),
				})
			}
		})
	}
	all.Wait()
	var history []porcupine.Operation
	swaps, writes := 0, 0
	for _, h := range histories {
		for _, op := range h {
			if op.Output.(registerOutput).swapped {
				swaps++
			}
			if op.Input.(registerInput).kind == "write" {
				writes++
			}
		}
		history = append(history, h...)
	}
	require.Len(t, history, clients*operations)
	require.Positive(t, swaps, "no swap succeeded")
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(register(), history, time.Minute))

	seen, last := 0, int64(1)
	for {
		batch, err := w.TryNext()
		require.NoError(t, err)
		if len(batch.Events) == 0 {
			break
		}
		for _, e := range batch.Events {
			require.Equal(t, last+1, e.KV.ModRevision)
			last = e.KV.ModRevision
			seen++
		}
	}
	require.Equal(t, swaps+writes, seen)
}

func operate(t *testing.T, s Store, in registerInput) (registerOutput, error) {
	key := []byte(in.key)
	switch in.kind {
	case "read":
		kv, _, err := s.Get(t.Context(), key)
		return registerOutput{value: string(kv.Value)}, err
	case "write":
		_, err := s.Put(t.Context(), store.PutRequest{Key: key, Value: []byte(in.value)})
		return registerOutput{}, err
	default:
		same := store.Compare{Key: key, Target: store.CompareValue, Value: []byte(in.expect)}
		if in.expect == "" {
			same = store.Compare{Key: key, Target: store.CompareVersion}
		}
		res, err := s.Txn(t.Context(), store.Txn{
			Compares: []store.Compare{same},
			Then:     []store.Op{{Put: &store.PutRequest{Key: key, Value: []byte(in.value)}}},
		})
		return registerOutput{swapped: res.Succeeded}, err
	}
}
