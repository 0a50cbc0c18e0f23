package node_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

func TestRecoverRefusesWhatIsNoNodesDirectoryAndMakesNone(t *testing.T) {
	fs := vfs.NewMem()
	for name, do := range map[string]func(string, vfs.FS) (node.Stock, error){"inspect": node.Inspect, "recover": node.Recover} {
		if _, err := do("/nowhere", fs); !errors.Is(err, store.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if names, err := fs.List("/"); err != nil || len(names) != 0 {
			t.Errorf("%s left %v, %v", name, names, err)
		}
	}
}
