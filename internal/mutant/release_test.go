package mutant

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onlyPlanted are functions that nothing but a planted bug calls, and this package's own
// of a build with the tag.
var onlyPlanted = []string{"store/ap.(*Replica).writeAgain", "internal/mutant.pick", "internal/mutant.M1", "internal/mutant.name"}

// A program that is built as a release is holds the name of the switch's variable nowhere,
// and none of the code that only a planted bug runs.
func TestReleasesHoldNoPlantedBug(t *testing.T) {
	if testing.Short() {
		t.Skip("it links two programs")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "../../cmd/kvctl", "../../cmd/kvnode").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	variable := strings.Join([]string{"KV", "MUTANT"}, "_") // joined when running, so that it is not in this binary for this line
	for _, program := range []string{"kvctl", "kvnode"} {
		path := filepath.Join(dir, program)
		binary, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(binary, []byte(variable)) {
			t.Errorf("%s names %s", program, variable)
		}
		symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(symbols, []byte("store/ap.(*Replica).Write")) {
			t.Fatalf("the symbols of %s lack what every node has", program)
		}
		for _, name := range onlyPlanted {
			if bytes.Contains(symbols, []byte("dialkv/"+name+"\n")) {
				t.Errorf("%s has %s", program, name)
			}
		}
	}
}
