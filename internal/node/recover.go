package node

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// Held is what a node has of a cp group.
type Held = cp.Held

// Stock is what the directory of a node that does not run has of cp groups, the
// catalog's first.
type Stock struct {
	Node, Cluster string
	Groups        []Held
}

// Inspect reads a node's directory. fsys is nil for the real disk.
func Inspect(dir string, fsys vfs.FS) (Stock, error) { return takeStock(dir, fsys, cp.Inspect) }

// Recover makes the node of a directory the only voter of every cp group it has, the
// catalog's included, for a cluster that has lost its majority for good; see cp.Force
// for what is lost with it. All groups are read before the first is changed. If it fails
// in between, it may be called again.
//
// The node must not run. When it does again, it leads its groups, and the nodes that
// are gone can be removed. Groups of which it has no replica stay without a leader.
//
// A replica that has never caught up has nothing to go on with: it is left as it is.
func Recover(dir string, fsys vfs.FS) (Stock, error) {
	if _, err := Inspect(dir, fsys); err != nil {
		return Stock{}, err
	}
	return takeStock(dir, fsys, func(cfg cp.Config) (cp.Held, error) {
		if h, err := cp.Inspect(cfg); err != nil || !h.CaughtUp {
			return h, err
		}
		return cp.Force(cfg)
	})
}

func takeStock(dir string, fsys vfs.FS, of func(cp.Config) (cp.Held, error)) (s Stock, err error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	id, err := readIdentity(fsys, filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Stock{}, &store.Error{Code: store.Invalid, Msg: dir + " is not the directory of a node that belongs to a cluster", Try: "the --data directory of a node"}
	}
	if err != nil {
		return Stock{}, err
	}
	e, err := engine.Open(engine.Config{Dir: dir, FS: fsys})
	if err != nil {
		return Stock{}, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	s = Stock{Node: id.Node, Cluster: id.Cluster}
	groups, err := openHeld(e).list()
	if err != nil {
		return Stock{}, err
	}
	for _, group := range append([]store.GroupID{store.CatalogGroup}, groups...) {
		consensus, err := cp.Holds(e, group)
		if err != nil {
			return Stock{}, err
		}
		if !consensus {
			continue
		}
		h, err := of(cp.Config{Node: id.Node, Group: group, Engine: e})
		if err != nil {
			return Stock{}, err
		}
		s.Groups = append(s.Groups, h)
	}
	return s, nil
}
