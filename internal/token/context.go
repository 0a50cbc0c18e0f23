package token

import (
	"fmt"

	"github.com/dialkv/dialkv/store"
)

// SealContext returns the write context of a key in the form that leaves the
// node: entry, bound to cluster, epoch and group. The nil entry, which says that
// nothing was read, stays nil.
func SealContext(cluster string, epoch uint64, group store.GroupID, entry store.Entry) ([]byte, error) {
	if entry == nil {
		return nil, nil
	}
	b, err := header(contextForm, cluster, epoch)
	if err != nil {
		return nil, err
	}
	return seal(append(appendGroup(b, group), entry...)), nil
}

// OpenContext reads what SealContext wrote for the same cluster, epoch and group.
// No bytes are no context: the nil entry.
func OpenContext(cluster string, epoch uint64, group store.GroupID, b []byte) (store.Entry, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var ofCluster string
	var ofEpoch uint64
	r := unseal(b, contextForm, &ofCluster, &ofEpoch)
	of := r.group()
	if r.err != nil {
		return nil, r.invalid("context")
	}
	if err := check("context", ofCluster, ofEpoch, cluster, epoch); err != nil {
		return nil, err
	}
	if of != group {
		return nil, &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("the context is of group %s, the key is in group %s", of, group),
			Try:  "the context that a read of this key gave",
		}
	}
	entry := append(store.Entry{}, r.b...)
	if _, err := DecodeEntry(entry); err != nil {
		return nil, err
	}
	return entry, nil
}
