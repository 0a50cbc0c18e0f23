package lab

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dialkv/dialkv/store"
)

// provider does what an activity is about.
type provider interface {
	// do returns an answer that encoding/json can write. An error says that there is none.
	do(ctx context.Context, r *run) (any, error)
}

var providerWords = map[string][]string{
	"kv":      {"type", "func", "arguments"},
	"http":    {"type", "url", "method", "headers", "arguments", "timeout", "expected_status", "verify_tls", "secrets"},
	"process": {"type", "path", "arguments", "timeout", "secrets"},
}

func (r *reader) provider(n *yaml.Node, a *Activity) provider {
	var kind string
	given := map[string]*yaml.Node{}
	for _, f := range r.fields(n, "a provider", nil) {
		given[f.name] = f.value
	}
	if given["type"] == nil {
		r.wrong(n, "a provider needs a type: kv, http or process")
		return nil
	}
	switch kind = r.text(given["type"], "type"); {
	case kind == "python":
		r.wrong(given["type"], "a python provider runs in the Chaos Toolkit only; here are kv, http and process")
		return nil
	case providerWords[kind] == nil:
		r.wrong(given["type"], "a provider of type %q is not known; it is kv, http or process", kind)
		return nil
	}
	r.fields(n, "a provider of type "+kind, providerWords[kind])
	document, _ := r.plain(n).(map[string]any)
	switch kind {
	case "kv":
		return r.kv(n, given)
	case "http":
		r.needs(n, given, "url")
		return &httpProvider{document}
	}
	r.needs(n, given, "path")
	return &processProvider{a.Name, document}
}

func (r *reader) needs(n *yaml.Node, given map[string]*yaml.Node, word string) {
	if v := given[word]; v == nil {
		r.wrong(n, "the provider needs a %s", word)
	} else {
		r.text(v, word)
	}
}

// placeholder is ${name} in a text, or ${name:default} as old experiments have it.
var placeholder = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_-]*)\}`)

// values are the configuration as it is in this run.
type values map[string]any

// settle finds the value of every setting.
func settle(settings map[string]setting, getenv func(string) string) (values, error) {
	out := values{}
	for name, s := range settings {
		out[name] = s.value
		if s.env == "" {
			continue
		}
		text := getenv(s.env)
		if text == "" && s.must {
			return nil, &store.Error{Code: store.Invalid, Op: "lab", Msg: fmt.Sprintf("the experiment needs the variable %s, for %s", s.env, name), Try: "export " + s.env + "=…"}
		}
		if text == "" {
			continue
		}
		v, err := s.read(text)
		if err != nil {
			return nil, &store.Error{Code: store.Invalid, Op: "lab", Msg: fmt.Sprintf("the variable %s, for %s, is no %s", s.env, name, s.kind), Cause: err}
		}
		out[name] = v
	}
	return out, nil
}

func (s setting) read(text string) (any, error) {
	if s.kind == "str" {
		return text, nil
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil || len(n.Content) == 0 {
		return nil, fmt.Errorf("%.40q cannot be read", text)
	}
	v := (&reader{}).plain(n.Content[0])
	ok := s.kind == "json"
	switch v.(type) {
	case int:
		ok = ok || s.kind == "int" || s.kind == "float"
	case float64:
		ok = ok || s.kind == "float"
	case bool:
		ok = ok || s.kind == "bool"
	}
	if !ok {
		return nil, fmt.Errorf("%.40q is something else", text)
	}
	return v, nil
}

// fill puts values in the place of ${name}, everywhere in v. A text that is nothing but
// one placeholder becomes the value with its type.
func (vs values) fill(v any) any {
	switch v := v.(type) {
	case string:
		if m := placeholder.FindStringSubmatch(v); m != nil && m[0] == v {
			if value, ok := vs[m[1]]; ok {
				return value
			}
		}
		return placeholder.ReplaceAllStringFunc(v, func(p string) string {
			if value, ok := vs[strings.Trim(p, "${}")]; ok {
				return fmt.Sprint(value)
			}
			return p
		})
	case []any:
		out := slices.Clone(v)
		for i := range out {
			out[i] = vs.fill(out[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			out[name] = vs.fill(inner)
		}
		return out
	}
	return v
}
