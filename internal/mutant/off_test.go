//go:build !mutants

package mutant

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestNoBugIsOnWithoutTheTag(t *testing.T) {
	if Enabled || Name() != "" {
		t.Errorf("Enabled = %v, Name() = %q in a build without the tag", Enabled, Name())
	}
	for _, on := range []bool{M1, M2, M3, M4, M6, M7, M8, M9, M10, M11, M16, M17, M18, M22, M23, M24, M25, M26, M27, M28, M29, M30, M31, M32, M33, M34, M35, M36, M37, M38, M39, M40, M41, M42, M43, M44, M45} {
		if on {
			t.Error("a planted bug is on in a build without the tag")
		}
	}
}

// The test's own binary stands for any release: it links this package.
func TestReleaseDoesNotReadTheSwitch(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	variable := strings.Join([]string{"KV", "MUTANT"}, "_") // joined when running, so that it is not in the binary for this line
	if bytes.Contains(binary, []byte(variable)) {
		t.Errorf("a binary without the tag names %s", variable)
	}
}
