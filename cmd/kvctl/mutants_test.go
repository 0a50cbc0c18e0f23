//go:build mutants

package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMutantsAreCaughtInRealTime runs what needs a build with planted bugs.
func TestMutantsAreCaughtInRealTime(t *testing.T) {
	testscript.Run(t, params(t, filepath.Join("testdata", "mutants")))
}
