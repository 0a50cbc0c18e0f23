package link

import (
	"errors"
	"fmt"
	"io"

	"github.com/dialkv/dialkv/store"
)

// magic opens every connection and packet between nodes. Its first byte is neither
// text (HTTP) nor a TLS record, so an outside client is known by four bytes.
const magic = "\xd1alk"

const (
	prefaceVersion = 2
	prefaceMax     = len(magic) + 2 + 2*(1+store.MaxName)
)

// preface says who calls whom and what for. On the wire, after the magic: version,
// kind, length and bytes of from, length and bytes of to. On a connection the caller's
// presence follows.
type preface struct {
	from, to string
	kind     Kind
}

var errPreface = errors.New("link: not a preface")

func (p preface) encode() []byte {
	b := append(make([]byte, 0, prefaceMax), magic...)
	b = append(b, prefaceVersion, byte(p.kind), byte(len(p.from)))
	b = append(b, p.from...)
	b = append(b, byte(len(p.to)))
	return append(b, p.to...)
}

// readPreface reads what follows the magic, and not a byte more. A wrong or
// oversized one is an error that wraps errPreface.
func readPreface(r io.Reader) (preface, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return preface{}, err
	}
	if head[0] != prefaceVersion {
		return preface{}, fmt.Errorf("%w: version %d, this node speaks %d", errPreface, head[0], prefaceVersion)
	}
	p := preface{kind: Kind(head[1])}
	if p.kind < Raft || p.kind > Asking {
		return preface{}, fmt.Errorf("%w: %s is not known", errPreface, p.kind)
	}
	for _, name := range []*string{&p.from, &p.to} {
		var err error
		if *name, err = readName(r); err != nil {
			return preface{}, err
		}
	}
	return p, nil
}

func readName(r io.Reader) (string, error) {
	var size [1]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return "", err
	}
	if size[0] > store.MaxName {
		return "", fmt.Errorf("%w: a name of %d bytes, the limit is %d", errPreface, size[0], store.MaxName)
	}
	name := make([]byte, size[0])
	if _, err := io.ReadFull(r, name); err != nil {
		return "", err
	}
	if err := store.CheckName("node", string(name)); err != nil {
		return "", fmt.Errorf("%w: %w", errPreface, err)
	}
	return string(name), nil
}
