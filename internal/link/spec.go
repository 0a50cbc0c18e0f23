package link

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/store"
)

// Pair is one direction between two nodes.
type Pair struct{ From, To string }

// ParsePartition reads the sides of a partition, "n1,n2|n3,n4,n5", and returns holes
// both ways between nodes of different sides. Every node must be named exactly once.
func ParsePartition(spec string, nodes []string) ([]Rule, error) {
	try := examplePartition(nodes)
	parts := strings.Split(spec, "|")
	if len(parts) < 2 {
		return nil, badSpec("partition", spec, "it has one side", try)
	}
	side := map[string]int{}
	for i, part := range parts {
		for _, name := range splitNames(part) {
			_, twice := side[name]
			switch {
			case name == "":
				return nil, badSpec("partition", spec, "a name is empty", try)
			case !slices.Contains(nodes, name):
				return nil, badSpec("partition", spec, unknownNode(name, nodes), try)
			case twice:
				return nil, badSpec("partition", spec, name+" is named twice", try)
			}
			side[name] = i
		}
	}
	for _, name := range nodes {
		if _, named := side[name]; !named {
			return nil, badSpec("partition", spec, name+" is on no side", try)
		}
	}
	return holes(nodes, func(a, b string) bool { return side[a] != side[b] }), nil
}

// Isolate cuts one node off from all others, both ways.
func Isolate(node string, nodes []string) []Rule {
	return holes(nodes, func(a, b string) bool { return (a == node) != (b == node) })
}

func holes(nodes []string, cut func(a, b string) bool) []Rule {
	var rules []Rule
	for _, a := range nodes {
		for _, b := range nodes {
			if cut(a, b) {
				rules = append(rules, Rule{From: a, To: b, Action: Hole})
			}
		}
	}
	return rules
}

// ParseLinks reads which directions of which links are meant: "n1->n2" one way,
// "n1<->n2" both, "n1,n2,n3" all among them. Either side may be a list or "*". The
// pairs come in the order of nodes, each once, and never from a node to itself.
func ParseLinks(spec string, nodes []string) ([]Pair, error) {
	left, right, both := cutArrow(spec)
	from, err := linkEnd(spec, left, nodes)
	if err != nil {
		return nil, err
	}
	to, err := linkEnd(spec, right, nodes)
	if err != nil {
		return nil, err
	}
	var pairs []Pair
	for _, a := range nodes {
		for _, b := range nodes {
			there := from[a] && to[b]
			back := both && from[b] && to[a]
			if a != b && (there || back) {
				pairs = append(pairs, Pair{a, b})
			}
		}
	}
	if len(pairs) == 0 {
		return nil, badSpec("links", spec, "it names no link between two nodes", tryLinks)
	}
	return pairs, nil
}

const tryLinks = "n1->n2, n1<->n2,n3, n1,n2,n3 (all among them), or * for every node"

func cutArrow(spec string) (left, right string, both bool) {
	if left, right, ok := strings.Cut(spec, "<->"); ok {
		return left, right, true
	}
	if left, right, ok := strings.Cut(spec, "->"); ok {
		return left, right, false
	}
	return spec, spec, true
}

// linkEnd reads one side of an arrow as a set.
func linkEnd(spec, list string, nodes []string) (map[string]bool, error) {
	set := map[string]bool{}
	for _, name := range splitNames(list) {
		switch {
		case name == Any:
			for _, node := range nodes {
				set[node] = true
			}
		case name == "":
			return nil, badSpec("links", spec, "a name is empty", tryLinks)
		case !slices.Contains(nodes, name):
			return nil, badSpec("links", spec, unknownNode(name, nodes), tryLinks)
		default:
			set[name] = true
		}
	}
	return set, nil
}

func splitNames(list string) []string {
	names := strings.Split(list, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

func badSpec(what, spec, why, try string) error {
	return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%s %q: %s", what, spec, why), Try: try}
}

func unknownNode(name string, nodes []string) string {
	return fmt.Sprintf("there is no node %q, only %s", name, strings.Join(nodes, ", "))
}

// examplePartition splits the nodes there are, minority first.
func examplePartition(nodes []string) string {
	if len(nodes) < 2 {
		return "a partition needs two nodes"
	}
	half := len(nodes) / 2
	return strings.Join(nodes[:half], ",") + "|" + strings.Join(nodes[half:], ",")
}
