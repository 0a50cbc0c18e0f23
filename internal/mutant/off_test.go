//go:build !mutants

package mutant

import "testing"

func TestNoBugIsOnWithoutTheTag(t *testing.T) {
	if Enabled || Name() != "" || Switch("M1") != "" {
		t.Errorf("Enabled = %v, Name() = %q, Switch = %q in a build without the tag", Enabled, Name(), Switch("M1"))
	}
}
