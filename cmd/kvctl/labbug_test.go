//go:build mutants

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/dialkv/dialkv/internal/mutant"
)

// A lesson on a store with the bug that it is about exits with 7. The bug is chosen when
// a process starts, so the test starts itself again.
func TestLabRunIsStatus7OnAPlantedBug(t *testing.T) {
	if mutant.Name() == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLabRunIsStatus7OnAPlantedBug$")
		cmd.Env = append(os.Environ(), "KV_MUTANT=M1")
		if log, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, log)
		}
		return
	}
	a, stdout, stderr := quiet(nil)
	if status := a.execute(t.Context(), []string{"lab", "run", "split-brain"}); status != 7 {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}
