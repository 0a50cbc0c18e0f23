package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// kvProvider calls a function on the cluster.
type kvProvider struct {
	function  *function
	arguments map[string]any
}

// function is one that experiments can call.
type function struct {
	name string
	says string // what it does and answers, for the schema and the reference page
	args []argument
	run  func(context.Context, *call) (any, error)
}

// argument is one that a function takes.
type argument struct {
	name, kind string
	must       bool
	says       string
}

// Kinds of arguments. Every one may hold a placeholder, and is then read when it is used.
const (
	kindText     = "text"     // anything that is one value
	kindKey      = "key"      // KEYSPACE/KEY
	kindKeyspace = "keyspace" // a name
	kindNode     = "node"     // n1, or leader:KEYSPACE
	kindNodes    = "nodes"    // several, with commas or as a list
	kindSides    = "sides"    // n1,n2|n3
	kindLinks    = "links"    // n1->n2
	kindTime     = "time"     // 500ms, or seconds
	kindSkew     = "skew"     // a time, which may be below zero
	kindLevel    = "level"
	kindW        = "w"
	kindNumber   = "number"
	kindPercent  = "percent"
	kindYes      = "yes"    // true or false
	kindClaims   = "claims" // names of checkers
	kindWorkload = "workload"
)

// call is one call of a function, with its arguments filled in.
type call struct {
	*run
	given values
}

func (p *kvProvider) do(ctx context.Context, r *run) (any, error) {
	filled, ok := r.config.fill(p.arguments).(map[string]any)
	if !ok {
		filled = map[string]any{}
	}
	for _, a := range p.function.args {
		if v := filled[a.name]; v != nil {
			if s, ok := v.(string); ok && placeholder.MatchString(s) {
				return nil, &store.Error{Code: store.Invalid, Op: p.function.name, Msg: fmt.Sprintf("%s is %s, and the configuration has nothing of that name", a.name, s)}
			}
			if why := a.check(v, r.experiment.Needs); why != "" {
				return nil, &store.Error{Code: store.Invalid, Op: p.function.name, Msg: a.name + " " + why}
			}
		}
	}
	return p.function.run(ctx, &call{r, filled})
}

func (r *reader) kv(n *yaml.Node, given map[string]*yaml.Node) provider {
	if given["func"] == nil {
		r.wrong(n, "the provider needs a func")
		return nil
	}
	f := functionNamed(r.text(given["func"], "func"))
	if f == nil {
		r.wrong(given["func"], "there is no function %q; there are %s", given["func"].Value, strings.Join(FunctionNames(), ", "))
		return nil
	}
	p := &kvProvider{function: f, arguments: map[string]any{}}
	words := []string{}
	for _, a := range f.args {
		words = append(words, a.name)
	}
	if args := given["arguments"]; args != nil {
		for _, field := range r.fields(args, f.name, words) {
			v := r.plain(field.value)
			p.arguments[field.name] = v
			a := f.args[slices.Index(words, field.name)]
			if why := a.check(v, r.needed); why != "" {
				r.wrong(field.value, "%s of %s %s", field.name, f.name, why)
			}
		}
	}
	for _, a := range f.args {
		if _, ok := p.arguments[a.name]; a.must && !ok {
			r.wrong(n, "%s needs %s: %s", f.name, a.name, a.says)
		}
	}
	return p
}

// check says what is wrong with a value, "" if nothing.
func (a argument) check(v any, needs *Needs) string {
	if s, ok := v.(string); ok && placeholder.MatchString(s) {
		return ""
	}
	switch a.kind {
	case kindTime, kindSkew:
		if d, err := parseTime(v); err != nil || d < 0 && a.kind == kindTime || d.Abs() > time.Hour {
			return fmt.Sprintf("is %v, it must be seconds or a time such as 500ms, at most an hour", v)
		}
		return ""
	case kindNumber:
		if _, ok := canonical(v).(float64); !ok {
			return fmt.Sprintf("is %v, it must be a number", v)
		}
		return ""
	case kindYes:
		if _, ok := v.(bool); !ok {
			return fmt.Sprintf("is %v, it must be true or false", v)
		}
		return ""
	case kindPercent:
		if f, ok := canonical(v).(float64); !ok || f <= 0 || f > 100 {
			return fmt.Sprintf("is %v, it must be a number above 0 and up to 100", v)
		}
		return ""
	}
	return a.checkText(v, needs)
}

func (a argument) checkText(v any, needs *Needs) string {
	if m, ok := v.(map[string]any); ok {
		return fmt.Sprintf("is a mapping of %d, it must be a text", len(m))
	}
	words := listed(v)
	text := strings.Join(words, ",")
	if len(text) > maxText || text == "" && a.kind != kindText {
		return fmt.Sprintf("has %d bytes, it must have 1 to %d", len(text), maxText)
	}
	err := error(nil)
	switch a.kind {
	case kindKey:
		keyspace, key, _ := strings.Cut(text, "/")
		if key == "" {
			return fmt.Sprintf("is %q, it must be KEYSPACE/KEY", text)
		}
		return needs.hasKeyspace(keyspace)
	case kindKeyspace:
		return needs.hasKeyspace(text)
	case kindNode, kindNodes:
		if len(words) > 1 && a.kind == kindNode {
			return fmt.Sprintf("is %q, it must be one node", text)
		}
		for _, w := range words {
			if why := needs.hasNode(w); why != "" {
				return why
			}
		}
	case kindSides:
		_, err = link.ParsePartition(text, needs.names())
	case kindLinks:
		_, err = link.ParseLinks(text, needs.names())
	case kindLevel:
		_, _, err = store.ParseLevelBound(text)
	case kindW:
		_, err = store.ParseW(text)
	case kindClaims:
		for _, w := range words {
			if !slices.Contains(check.Names(), w) {
				return fmt.Sprintf("names no checker %q; there are %s", w, strings.Join(check.Names(), ", "))
			}
		}
	case kindWorkload:
		if !slices.Contains(workload.Names, text) {
			return fmt.Sprintf("is %q; there are %s", text, strings.Join(workload.Names, ", "))
		}
	}
	if err != nil {
		return "is not good: " + store.AsError(err).Msg
	}
	return ""
}

// listed reads a list, or a text with commas.
func listed(v any) []string {
	var out []string
	switch v := v.(type) {
	case []any:
		for _, w := range v {
			out = append(out, fmt.Sprint(w))
		}
	case nil:
	default:
		for w := range strings.SplitSeq(textOf(v), ",") {
			out = append(out, strings.TrimSpace(w))
		}
	}
	return out
}

// textOf is a scalar as it is written.
func textOf(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// names are those that the nodes will have.
func (n *Needs) names() []string {
	var out []string
	if n != nil {
		for i := range n.Nodes {
			out = append(out, "n"+strconv.Itoa(i+1))
		}
	}
	return out
}

func (n *Needs) hasKeyspace(name string) string {
	if n == nil || slices.ContainsFunc(n.Keyspaces, func(k Keyspace) bool { return k.Name == name }) {
		return ""
	}
	return fmt.Sprintf("names the keyspace %q, which is not one of the cluster's", name)
}

func (n *Needs) hasNode(name string) string {
	if keyspace, ok := strings.CutPrefix(name, "leader:"); ok {
		return n.hasKeyspace(keyspace)
	}
	if n == nil || slices.Contains(n.names(), name) {
		return ""
	}
	return fmt.Sprintf("names the node %q; there are %s, and leader:KEYSPACE", name, strings.Join(n.names(), ", "))
}

// FunctionNames lists what the kv provider can do.
func FunctionNames() []string {
	var names []string
	for _, f := range functions() {
		names = append(names, f.name)
	}
	return names
}

func functionNamed(name string) *function {
	all := functions()
	if i := slices.IndexFunc(all, func(f function) bool { return f.name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// text is an argument as a text, "" if it was not given.
func (c *call) text(name string) string {
	if v := c.given[name]; v != nil {
		return textOf(v)
	}
	return ""
}

func (c *call) yes(name string) bool { return c.given[name] == true }

func (c *call) number(name string, otherwise float64) float64 {
	if f, ok := canonical(c.given[name]).(float64); ok {
		return f
	}
	return otherwise
}

func (c *call) time(name string, otherwise time.Duration) time.Duration {
	if v := c.given[name]; v != nil {
		if d, err := parseTime(v); err == nil {
			return d
		}
	}
	return otherwise
}
