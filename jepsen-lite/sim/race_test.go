//go:build race

package sim_test

// The race detector makes a run seven times slower, so it has to be short, and busier.
const (
	defaultHours = 1.0 / 60 // one virtual minute
	defaultRate  = 60
)
