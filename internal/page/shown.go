package page

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/dialkv/dialkv/store"
)

// proof is what the answer is worth.
type proof struct {
	Node        string   `json:"node"`
	Group       string   `json:"group"`
	Role        string   `json:"role"`
	Term        uint64   `json:"term,omitempty"`
	Vector      string   `json:"vector,omitempty"`
	Asked       string   `json:"level_asked,omitempty"`
	Served      string   `json:"level_served,omitempty"`
	WaitedMS    float64  `json:"waited_ms"`
	WaitedFor   string   `json:"waited_for,omitempty"`
	StalenessMS *float64 `json:"staleness_ms,omitempty"`
	PACELC      string   `json:"pacelc,omitempty"`
}

func proofOf(p store.Proof, mode store.Mode) *proof {
	if p.Node == "" {
		return nil
	}
	out := &proof{
		Node: p.Node, Group: p.Group.String(), Role: p.Role, Term: p.Term, Vector: p.Vector,
		WaitedMS: p.Waited.Seconds() * 1000, WaitedFor: p.WaitedFor,
	}
	if p.Served != store.LevelDefault {
		out.Asked, out.Served, out.PACELC = p.Asked.String(), p.Served.String(), p.Served.PACELC(mode)
	}
	if p.Fresh {
		staleness := p.Staleness.Seconds() * 1000
		out.StalenessMS = &staleness
	}
	return out
}

// shown is a value as a page can show it: clipped, and in base64 if it is no text.
type shown struct {
	Text    string `json:"text"`
	Size    int    `json:"size"`
	Binary  bool   `json:"binary,omitempty"`
	Clipped bool   `json:"clipped,omitempty"`
}

// clipAt is how much of a value the page shows, in bytes.
const clipAt = 4 << 10

func show(v []byte) shown {
	s := shown{Size: len(v), Binary: !utf8.Valid(v), Clipped: len(v) > clipAt}
	if s.Clipped {
		v = v[:clipAt]
		for !s.Binary && !utf8.Valid(v) {
			v = v[:len(v)-1]
		}
	}
	s.Text = string(v)
	if s.Binary {
		s.Text = base64.StdEncoding.EncodeToString(v)
	}
	return s
}

func showAll(values [][]byte) []shown {
	out := []shown{}
	for _, v := range values {
		out = append(out, show(v))
	}
	return out
}
