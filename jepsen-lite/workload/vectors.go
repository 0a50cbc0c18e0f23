package workload

import (
	"fmt"
	"strings"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// dot is the name of the write that was answered with this context: a write's context
// is its own dot, marked by the actor 0, which is nobody. token is of the session that
// wrote. A context that cannot be read names nothing.
func (s step) dot(context []byte, tok string) string {
	t, err := token.Parse(tok)
	if err != nil || len(context) == 0 {
		return ""
	}
	entry, err := token.OpenContext(t.Cluster, t.Epoch, s.space.Group(s.key), s.key, context)
	if err != nil {
		return ""
	}
	return text(entry)
}

// vectorOf is all that a token says was seen of a group, as history writes it.
func vectorOf(tok string, group store.GroupID) string {
	t, err := token.Parse(tok)
	if err != nil {
		return ""
	}
	return text(t.For(group, store.Monotonic))
}

func text(entry store.Entry) string {
	components, err := token.DecodeEntry(entry)
	if err != nil {
		return ""
	}
	var dots []string
	for _, c := range components {
		switch c.ID {
		case 0, token.ClosedSum:
		case token.ClosedID:
			dots = append(dots, fmt.Sprintf("closed:%d", c.N))
		default:
			dots = append(dots, fmt.Sprintf("%016x:%d", c.ID, c.N))
		}
	}
	return strings.Join(dots, ",")
}

func siblings(list []store.Sibling) (out []history.Sibling) {
	for _, s := range list {
		out = append(out, history.Sibling{Dot: s.Dot, Field: s.Field, Value: string(s.Value)})
	}
	return out
}
