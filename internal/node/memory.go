package node

import (
	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// memory is the engine of the keyspaces that are kept in memory. It is opened with the
// first of them. The channel holds it, nil as long as there is none, and is a lock that
// may be waited for in virtual time.
type memory chan *engine.Engine

func newMemory() memory {
	m := make(memory, 1)
	m <- nil
	return m
}

// get opens the engine if it is not open.
func (m memory) get(memTable uint64) (*engine.Engine, error) {
	e := <-m
	defer func() { m <- e }()
	if e != nil {
		return e, nil
	}
	var err error
	// What is read is in memory anyhow, so there is little to gain by a cache.
	e, err = engine.Open(engine.Config{Memory: true, MemTable: memTable, Cache: 1 << 20})
	return e, err
}

// drop deletes what a group has there.
func (m memory) drop(id store.GroupID) error {
	e := <-m
	defer func() { m <- e }()
	if e == nil {
		return nil
	}
	return e.Drop(id)
}

// figures of it; zero if it is not open.
func (m memory) figures() engine.Figures {
	e := <-m
	defer func() { m <- e }()
	if e == nil {
		return engine.Figures{}
	}
	return e.Figures()
}

// close ends it. No replica is open any more.
func (m memory) close() error {
	e := <-m
	defer func() { m <- nil }()
	if e == nil {
		return nil
	}
	return e.Close()
}
