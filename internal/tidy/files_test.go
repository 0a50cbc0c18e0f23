package tidy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// somebodysFolder is an absolute path that exists on one machine only.
var somebodysFolder = regexp.MustCompile("(^|[\\s\"'`=(:])/(home|Users|root|work)/[[:word:]]")

func TestNoFileNamesAMachine(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	for _, name := range bytes.Split(bytes.TrimRight(out, "\x00"), []byte{0}) {
		content, err := os.ReadFile(filepath.Join(root, string(name)))
		if err != nil || bytes.IndexByte(content, 0) >= 0 {
			continue // deleted, or not text
		}
		for n, line := range bytes.Split(content, []byte("\n")) {
			if found := somebodysFolder.Find(line); found != nil {
				t.Errorf("%s:%d names a folder of one machine: %q", name, n+1, found)
			}
		}
	}
}
