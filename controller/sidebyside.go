package controller

import "sync"

// SideBySide runs f for each number from 0 to n-1 at once, waits for all, and gives the first error by number: where
// one request of many fails, the others usually do for the same reason.
func SideBySide(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
