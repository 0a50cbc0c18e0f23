//go:build !unix

package main

import "os"

// resizes never says anything: the size is asked for with each frame.
func resizes() (c chan os.Signal, stop func()) { return nil, func() {} }
