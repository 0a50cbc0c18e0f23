package node

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// identity is who a data directory belongs to. It is written when the node has founded
// or joined a cluster, and at every start.
type identity struct {
	Version int    `json:"version"`
	Cluster string `json:"cluster"` // 32 hex digits
	Node    string `json:"node"`
	Disk    uint64 `json:"disk"`    // drawn with the directory: a wiped disk is another node
	Founder bool   `json:"founder"` // it is the first member of the catalog's group
	Start   uint64 `json:"start"`   // of the last process; see startAfter
}

const (
	identityFile    = "identity.json"
	identityVersion = 1
	// epoch is the cluster's epoch. A restore from a snapshot would begin another.
	epoch = 1
)

// loadIdentity reads who the directory belongs to; a new directory belongs to
// nobody yet and gets its disk number. Another node's directory is refused.
func loadIdentity(e *engine.Engine, node string) (identity, error) {
	id, err := readIdentity(e.FS(), e.Path(identityFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return identity{Version: identityVersion, Node: node, Disk: randomUint64()}, nil
	case err != nil:
		return identity{}, err
	case id.Node != node:
		return identity{}, &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("the data directory is of node %s, not %s", id.Node, node),
			Try:  "--id " + id.Node + ", or another --data directory",
		}
	}
	return id, nil
}

// startAfter orders the starts of a node: the wall clock's milliseconds, and more than
// the last start had, whatever the clock says. So a process on a copy of the directory of
// one that runs is the later of the two; see link.Twins.
func startAfter(last uint64, now time.Time) uint64 {
	return max(last+1, uint64(max(now.UnixMilli(), 0)))
}

// readIdentity's error is fs.ErrNotExist if there is no such file.
func readIdentity(fsys vfs.FS, path string) (identity, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return identity{}, fmt.Errorf("node: %w", err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return identity{}, fmt.Errorf("node: %w", err)
	}
	var id identity
	if err := json.Unmarshal(b, &id); err != nil || id.Version != identityVersion {
		return identity{}, &store.Error{Code: store.Corrupt, Cause: err, Msg: fmt.Sprintf("%s does not say whose directory this is (version %d)", path, id.Version)}
	}
	return id, nil
}

// save writes the identity; it is on disk when save returns, whole or not at all.
func (id identity) save(e *engine.Engine) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	path := e.Path(identityFile)
	f, err := e.FS().Create(path+".part", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := e.FS().Rename(path+".part", path); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return e.SyncFolder()
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

func newCluster() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
