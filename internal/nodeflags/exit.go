package nodeflags

import (
	"errors"

	"github.com/dialkv/dialkv/store"
)

// ExitCode is the status with which a program of ours ends: 0 ok, 1 any other
// error, 2 bad input, 3 not found, 4 unavailable, 5 conflict, 6 may have been
// applied. An error that is no *store.Error is 1: it never reached a cluster.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var e *store.Error
	if !errors.As(err, &e) {
		return 1
	}
	if e.MaybeApplied() {
		return 6
	}
	switch e.Code {
	case store.Invalid, store.Unsupported, store.LevelUnsupported, store.TooLarge, store.TokenMismatch:
		return 2
	case store.NotFound, store.NoSuchKeyspace:
		return 3
	case store.Unavailable, store.NotLeader, store.SessionUnreachable, store.TooStale, store.Overloaded, store.CircuitOpen:
		return 4
	case store.Conflict, store.AlreadyExists, store.TooManySiblings:
		return 5
	}
	return 1
}
