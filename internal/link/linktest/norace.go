//go:build !race

package linktest

func onOneProcessor() func() { return func() {} }
