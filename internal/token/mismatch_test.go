package token

import (
	"errors"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/store"
)

// A new session does not help who brings the context of another cluster.
func TestMismatchSaysWhatToBringInstead(t *testing.T) {
	for what, try := range map[string]string{"token": "a new session", "context": "a read of this key"} {
		err := check(what, strings.Repeat("00", 16), 1, cluster, 1)
		if !errors.Is(err, store.TokenMismatch) || !strings.Contains(store.AsError(err).Try, try) {
			t.Errorf("%s: %v, try %q", what, err, store.AsError(err).Try)
		}
	}
}
