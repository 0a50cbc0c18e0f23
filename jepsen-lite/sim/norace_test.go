//go:build !race

package sim_test

const (
	defaultHours = 1.0 / 20 // three virtual minutes
	defaultRate  = 20
)
