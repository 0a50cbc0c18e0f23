package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// entry is a line of the page's log.
type entry struct {
	T     float64 `json:"t"`
	Kind  string  `json:"kind"` // net, node, leader, note
	Text  string  `json:"text"`
	Node  string  `json:"node,omitempty"`
	Began bool    `json:"began,omitempty"` // a fault of this kind and node is in force from here on
	Ended bool    `json:"ended,omitempty"`
}

func (p *Page) note(e entry) {
	e.T = millis(time.Now())
	p.feed.tell("log", e)
}

// news tells what is otherwise than it was at the last look, whoever did it, and notes
// cuts for the checkers.
func (p *Page) news(s *state) {
	was := p.looks.before
	if was == nil {
		was = &state{Nodes: s.Nodes, Keyspaces: s.Keyspaces}
	}
	if s.Net != was.Net {
		p.netNews(s, was)
	}
	for _, n := range s.Nodes {
		i := slices.IndexFunc(was.Nodes, func(o nodeState) bool { return o.ID == n.ID })
		if i < 0 {
			p.note(entry{Kind: "node", Node: n.ID, Text: n.ID + " has joined"})
		} else {
			p.nodeNews(n, was.Nodes[i])
		}
	}
	for _, k := range s.Keyspaces {
		i := slices.IndexFunc(was.Keyspaces, func(o keyspaceState) bool { return o.ID == k.ID })
		if i < 0 {
			p.note(entry{Kind: "note", Text: "keyspace " + k.Name + " is there"})
		} else {
			p.leaderNews(k, was.Keyspaces[i])
		}
	}
}

func (p *Page) netNews(s, was *state) {
	if was.Net != "" {
		p.tape.fault("partition", history.End, was.Net)
	}
	if s.Net != "" {
		p.tape.fault("partition", history.Begin, s.Net)
	}
	text := "links: " + s.Net
	if s.Net == "" {
		text = "healed: every link is whole"
	}
	p.note(entry{Kind: "net", Text: text, Began: s.Net != "", Ended: s.Net == ""})
}

func (p *Page) nodeNews(n, was nodeState) {
	gone := n.State == "unreachable"
	if n.State != was.State {
		text := n.ID + " is " + n.State
		if gone {
			text = n.ID + " does not answer"
		}
		p.note(entry{Kind: "node", Node: n.ID, Text: text, Began: gone, Ended: !gone})
	}
	if n.SkewMS != was.SkewMS && !gone && was.State != "unreachable" {
		p.note(entry{Kind: "note", Node: n.ID, Text: fmt.Sprintf("the clock of %s is %+g ms off", n.ID, n.SkewMS)})
	}
}

func (p *Page) leaderNews(k, was keyspaceState) {
	for _, g := range k.Groups {
		i := slices.IndexFunc(was.Groups, func(o groupState) bool { return o.Shard == g.Shard })
		if i < 0 || g.Leader == was.Groups[i].Leader && g.Term == was.Groups[i].Term {
			continue
		}
		if g.Leader == "" {
			p.note(entry{Kind: "leader", Text: k.Name + ": nobody leads group " + g.ID})
		} else {
			p.note(entry{Kind: "leader", Node: g.Leader, Text: fmt.Sprintf("%s: %s leads group %s, term %d", k.Name, g.Leader, g.ID, g.Term)})
		}
	}
}

// describe says rules in the words of kvctl net: the sides of a partition, if that is
// what they are, else one link after the other. It is "" if there is none.
func describe(rules []link.Rule, nodes []string) string {
	var words []string
	cut, rest := split(rules)
	if sides := sidesOf(cut, nodes); len(sides) > 1 {
		words = append(words, strings.Join(sides, " | "))
	} else {
		rest = rules
	}
	for i, r := range rest {
		if len(words) == 8 {
			words = append(words, fmt.Sprintf("and %d more", len(rest)-i))
			break
		}
		words = append(words, r.From+"->"+r.To+" "+effect(r))
	}
	return strings.Join(words, ", ")
}

// split tells holes from all else.
func split(rules []link.Rule) (holes, rest []link.Rule) {
	for _, r := range rules {
		if r.Action == link.Hole {
			holes = append(holes, r)
		} else {
			rest = append(rest, r)
		}
	}
	return holes, rest
}

// sidesOf are the sides of the partition that the holes are; none if a link between two
// sides is open one way, or one within a side is cut.
func sidesOf(holes []link.Rule, nodes []string) []string {
	shut := func(a, b string) bool {
		return slices.ContainsFunc(holes, func(r link.Rule) bool {
			return r.Kind == 0 && (r.From == a || r.From == link.Any) && (r.To == b || r.To == link.Any)
		})
	}
	var sides [][]string
	for _, n := range nodes {
		i := slices.IndexFunc(sides, func(side []string) bool { return !shut(side[0], n) && !shut(n, side[0]) })
		if i < 0 {
			sides = append(sides, []string{n})
		} else {
			sides[i] = append(sides[i], n)
		}
	}
	side := make(map[string]int)
	for i := range sides {
		for _, n := range sides[i] {
			side[n] = i
		}
	}
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b && shut(a, b) != (side[a] != side[b]) {
				return nil
			}
		}
	}
	slices.SortStableFunc(sides, func(a, b []string) int { return cmp.Compare(len(a), len(b)) })
	var names []string
	for _, s := range sides {
		names = append(names, strings.Join(s, ","))
	}
	return names
}

func effect(r link.Rule) string {
	switch {
	case r.Action == link.Hole:
		return "cut"
	case r.Action == link.Reset:
		return "reset"
	case r.Loss > 0:
		return fmt.Sprintf("loses %g%%", r.Loss*100)
	case r.Jitter > 0:
		return fmt.Sprintf("%v±%v late", r.Delay, r.Jitter)
	}
	return fmt.Sprintf("%v late", r.Delay)
}

// offers refuses what the page does not offer.
func (p *Page) offers(command string) error {
	if why, refused := p.cfg.Cannot[command]; refused {
		return &store.Error{Code: store.Unsupported, Msg: "the page does not offer this here: " + why, Try: "kvctl, which has the whole cluster at hand"}
	}
	return nil
}
