package membership

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// metaVersion begins what travels with a name: version, then cluster, address and
// gossip address, each after a byte with its length, then the caller's meta.
const metaVersion = 1

var errMeta = errors.New("membership: this meta cannot be read")

// encodeMeta fails with TooLarge where memberlist would panic.
func encodeMeta(cluster string, m Member) ([]byte, error) {
	b := []byte{metaVersion}
	for _, s := range []string{cluster, m.Addr, m.Gossip} {
		if len(s) > 255 {
			return nil, &store.Error{Code: store.TooLarge, Msg: fmt.Sprintf("the address %.40q… has %d bytes, the limit is 255", s, len(s))}
		}
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	if size := len(b) + len(m.Meta); size > MaxMeta {
		return nil, &store.Error{Code: store.TooLarge, Msg: fmt.Sprintf("the meta has %d bytes with cluster and addresses, the limit is %d", size, MaxMeta)}
	}
	return append(b, m.Meta...), nil
}

// decodeMeta keeps nothing of b, which is memberlist's.
func decodeMeta(b []byte) (cluster string, m Member, err error) {
	if len(b) == 0 || b[0] != metaVersion {
		return "", Member{}, errMeta
	}
	b = b[1:]
	for _, s := range []*string{&cluster, &m.Addr, &m.Gossip} {
		if len(b) == 0 || len(b) <= int(b[0]) {
			return "", Member{}, errMeta
		}
		n := 1 + int(b[0])
		*s, b = string(b[1:n]), b[n:]
	}
	m.Meta = slices.Clone(b)
	return cluster, m, nil
}
