package localcluster

import (
	"context"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Clone starts a second process of a node that runs, on a copy of its disk and at an
// address of its own, and returns what it will end with. Close ends it at the latest.
func (m *Memory) Clone(ctx context.Context, name string) (ended <-chan error, err error) {
	r, err := m.get(name)
	if err != nil {
		return nil, err
	}
	door, err := m.net.EndpointAt(name, name+"-copy")
	if err != nil {
		return nil, err
	}
	twin, err := m.open(ctx, name, r.disk.CrashClone(vfs.CrashCloneCfg{}), door)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		<-twin.done
		done <- twin.err
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clones = append(m.clones, twin)
	return done, nil
}
