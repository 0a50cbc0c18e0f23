package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dialkv/dialkv/store"
)

// reader reads one file and gathers what is wrong with it.
type reader struct {
	file       string
	complaints []string
	nodes      int
	named      map[string]*Activity // for ref
	needed     *Needs               // once it was read
}

// wrong notes what is wrong with a node. The rest of the file is read all the same.
func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	if len(r.complaints) < maxComplaints {
		r.complaints = append(r.complaints, fmt.Sprintf("%s:%d: %s", r.file, n.Line, fmt.Sprintf(format, args...)))
	}
}

// err is all that is wrong, one line each.
func (r *reader) err() error {
	if len(r.complaints) == 0 {
		return nil
	}
	return &store.Error{Code: store.Invalid, Op: "lab", Msg: strings.Join(r.complaints, "\n"), Try: "kvctl lab new, which writes a file with every word explained"}
}

// field is one entry of a mapping.
type field struct {
	name  string
	key   *yaml.Node
	value *yaml.Node
}

// fields are the entries of a mapping. words are the names it may have; nil is any.
func (r *reader) fields(n *yaml.Node, what string, words []string) []field {
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "%s is %s, it must be a mapping", what, form(n))
		return nil
	}
	var out []field
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.wrong(key, "%s has a key that is %s", what, form(key))
		case words != nil && !slices.Contains(words, key.Value):
			r.wrong(key, "%s has no %q; it has %s", what, key.Value, strings.Join(words, ", "))
		case slices.ContainsFunc(out, func(f field) bool { return f.name == key.Value }):
			r.wrong(key, "%s has %q twice", what, key.Value)
		default:
			out = append(out, field{key.Value, key, value})
		}
	}
	return out
}

func (r *reader) list(n *yaml.Node, what string, most int) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, "%s is %s, it must be a list", what, form(n))
		return nil
	}
	if len(n.Content) > most {
		r.wrong(n, "%s has %d elements, at most %d are allowed", what, len(n.Content), most)
		return nil
	}
	return n.Content
}

func (r *reader) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		r.wrong(n, "%s is %s, it must be a text", what, form(n))
		return ""
	}
	if len(n.Value) > maxText {
		r.wrong(n, "%s has %d bytes, at most %d are allowed", what, len(n.Value), maxText)
		return ""
	}
	return n.Value
}

// word is a text that must be one of some.
func (r *reader) word(n *yaml.Node, what string, words []string) string {
	s := r.text(n, what)
	if s != "" && !slices.Contains(words, s) {
		r.wrong(n, "%s %q is not known; it is one of %s", what, s, strings.Join(words, ", "))
	}
	return s
}

func (r *reader) yes(n *yaml.Node, what string) bool {
	v, ok := r.plain(n).(bool)
	if !ok {
		r.wrong(n, "%s is %s, it must be true or false", what, form(n))
	}
	return v
}

func (r *reader) count(n *yaml.Node, what string, least, most int) int {
	v, ok := r.plain(n).(int)
	if !ok || v < least || v > most {
		r.wrong(n, "%s is %s, it must be a number from %d to %d", what, form(n), least, most)
	}
	return v
}

// pause is seconds, as the Chaos Toolkit has it, or a time such as 500ms.
func (r *reader) pause(n *yaml.Node, what string) time.Duration {
	d, err := parseTime(r.plain(n))
	if err != nil || d < 0 || d > maxPause {
		r.wrong(n, "%s is %s, it must be seconds, or a time such as 500ms, and at most %v", what, form(n), maxPause)
		return 0
	}
	return d
}

// parseTime reads seconds as a number, or a time with its unit.
func parseTime(v any) (time.Duration, error) {
	switch v := v.(type) {
	case int:
		return time.Duration(v) * time.Second, nil
	case float64:
		return time.Duration(v * float64(time.Second)), nil
	case string:
		return time.ParseDuration(v)
	}
	return 0, fmt.Errorf("%v is no time", v)
}

// form says what a node is, for a complaint.
func form(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" {
			return "empty"
		}
		return fmt.Sprintf("%.40q", n.Value)
	}
	return "not readable"
}

// plain is what a node holds, in the types of encoding/json, but that a whole number is
// an int.
func (r *reader) plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = r.plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, c := range n.Content {
			l[i] = r.plain(c)
		}
		return l
	case yaml.ScalarNode:
		return scalar(n)
	}
	return nil
}

func scalar(n *yaml.Node) any {
	var v any
	if n.ShortTag() == "!!timestamp" || n.ShortTag() == "!!binary" || n.Decode(&v) != nil {
		return n.Value
	}
	return v
}

// resolve puts what aliases stand for in their place, and bounds how much that is.
func (r *reader) resolve(n *yaml.Node, depth int) (*yaml.Node, bool) {
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		r.wrong(n, "the file holds more than %d values, or is nested deeper than %d", maxNodes, maxDepth)
		return n, false
	}
	if n.Kind == yaml.AliasNode {
		return r.resolve(n.Alias, depth+1)
	}
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		var ok bool
		if out.Content[i], ok = r.resolve(c, depth+1); !ok {
			return n, false
		}
	}
	return &out, true
}
