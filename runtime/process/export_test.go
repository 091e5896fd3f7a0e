package process

// WithoutPID makes r start pods without a pid namespace, as on a machine where /proc can't be mounted.
func WithoutPID(r *Runtime) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.levels) > 1 && r.levels[0].PID {
		r.levels = r.levels[1:]
	}
}
