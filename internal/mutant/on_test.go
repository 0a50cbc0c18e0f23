//go:build mutants

package mutant

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestOneSwitchFollowsTheEnvironment(t *testing.T) {
	want := os.Getenv("KV_MUTANT")
	for bug, on := range map[string]bool{"M1": M1, "M4": M4, "M20": M20, "M45": M45} {
		if on != (bug == want) {
			t.Errorf("with KV_MUTANT=%q, %s is %v", want, bug, on)
		}
	}
	if !Enabled || Name() != want {
		t.Errorf("Enabled = %v, Name() = %q, want true and %q", Enabled, Name(), want)
	}
}

func TestUnknownNamePanicsWithTheList(t *testing.T) {
	defer func() {
		msg, _ := recover().(string)
		if missing := slices.ContainsFunc(Names(), func(n string) bool { return !strings.Contains(msg, n) }); missing {
			t.Errorf("panic %q does not list the names", msg)
		}
	}()
	pick("M99")
}

// What TestReleasesHoldNoPlantedBug looks for in a release is in a build with the tag.
func TestABuildWithTheTagReadsTheSwitch(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Joined when running: the binary must not have it for this line.
	if !bytes.Contains(binary, []byte(strings.Join([]string{"KV", "MUTANT="}, "_"))) {
		t.Error("a binary with the tag does not name the variable")
	}
}
