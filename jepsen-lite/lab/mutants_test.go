//go:build mutants

package lab_test

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/internal/mutant"
)

var trial = flag.String("lab.trial", "", "internal: play this one lesson, in a process of its own")

// planted is a bug that a lesson shows, and the activities of it that do not hold then.
var planted = []struct{ mutant, lesson, shows string }{
	{"M1", "cap", "the minority refuses to read orders at strong"},
	{"M1", "split-brain", "the old leader proves nothing"},
	{"M2", "split-brain", "the old leader proves nothing"},
	{"M2", "paused-leader", "the old leader proves nothing"},
	{"M4", "split-brain", "the sale at the old leader is not acknowledged"},
	{"M5", "quorum", "a majority does not hold v2"},
	{"M9", "causality", "and then the question is there"},
	{"M10", "read-your-writes", "at read-your-writes it is there"},
	{"M10", "monotonic-reads", "at monotonic it does not"},
	{"M13", "conflicts", "siblings keep both"},
	{"M28", "quorum", "a majority does not hold v2"},
	{"M43", "conflicts", "tags are equal again"},
}

// TestTrial plays a lesson with a planted bug, which must show; by a failure of this
// test, since the bug may end the bubble, too.
func TestTrial(t *testing.T) {
	if *trial == "" {
		t.Skip("a part of TestLessonsShowPlantedBugs")
	}
	for _, r := range virtual(t, lesson(t, *trial)).Unmet() {
		t.Errorf("with %s it does not hold: %s", mutant.Name(), r.Name)
	}
}

// A lesson that holds whatever the store does teaches nothing: on a store with the bug
// that it is about, it must not hold.
func TestLessonsShowPlantedBugs(t *testing.T) {
	for _, row := range planted {
		t.Run(row.mutant+"/"+row.lesson, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTrial$", "-test.timeout=2m", "-lab.trial="+row.lesson)
			cmd.Env = append(os.Environ(), "KV_MUTANT="+row.mutant)
			log, err := cmd.CombinedOutput()
			if want := "with " + row.mutant + " it does not hold: " + row.shows; err == nil || !strings.Contains(string(log), want) {
				t.Errorf("%v, and no %q in\n%s", err, want, log)
			}
		})
	}
}
