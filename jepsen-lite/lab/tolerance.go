package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/theory/jsonpath"
	"go.yaml.in/yaml/v3"
)

// tolerance is what an answer must be like.
type tolerance struct {
	document any
	probe    *Activity // of type probe: it is asked about the answer
}

// matcher reports whether an answer is tolerated. Answers are as encoding/json has them.
type matcher func(answer any) bool

// The words of the typed forms. What has no type names fields of the answer.
var toleranceWords = map[string][]string{
	"regex":    {"type", "pattern", "target"},
	"jsonpath": {"type", "path", "target", "expect", "count"},
	"range":    {"type", "range", "target"},
	"probe":    {"type", "name", "provider", "background", "pauses"},
}

func (r *reader) tolerance(n *yaml.Node) *tolerance {
	t := &tolerance{document: r.plain(n)}
	if m, ok := t.document.(map[string]any); ok && m["type"] != nil {
		kind := fmt.Sprint(m["type"])
		words := toleranceWords[kind]
		if words == nil {
			r.wrong(n, "a tolerance of type %q is not known; it is one of jsonpath, probe, range, regex", kind)
			return t
		}
		r.fields(n, "a tolerance of type "+kind, words)
		if kind == "probe" {
			t.probe = r.activity(n, words)
			return t
		}
	}
	if _, err := compile(t.document); err != nil {
		r.wrong(n, "the tolerance: %v", err)
	}
	return t
}

// compile makes a matcher of a tolerance that is not of type probe.
func compile(document any) (matcher, error) {
	switch want := canonical(document).(type) {
	case map[string]any:
		if want["type"] == nil {
			return fieldsOf(want)
		}
		m, err := typed(want)
		if err != nil {
			return nil, err
		}
		return targeted(want["target"], m)
	case []any:
		return func(answer any) bool { return among(want, statusOf(answer)) }, nil
	case float64:
		return func(answer any) bool { return reflect.DeepEqual(statusOf(answer), any(want)) }, nil
	default:
		return func(answer any) bool { return reflect.DeepEqual(answer, want) }, nil
	}
}

// canonical is a value as encoding/json reads it back, so that values compare.
func canonical(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	_ = json.Unmarshal(b, &out) // it was made a line above
	return out
}

// statusOf is what a number is compared with: of an answer with a status, that.
func statusOf(answer any) any {
	if m, ok := answer.(map[string]any); ok && m["status"] != nil {
		return m["status"]
	}
	return answer
}

// among reports whether the answer lies between two numbers, is one of a list, or, if it
// is a list itself, has the same elements in any order.
func among(want []any, answer any) bool {
	if list, ok := answer.([]any); ok {
		return slices.Equal(sorted(list), sorted(want))
	}
	if least, most, ok := bounds(want); ok {
		n, is := answer.(float64)
		return is && least <= n && n <= most
	}
	return slices.ContainsFunc(want, func(w any) bool { return reflect.DeepEqual(w, answer) })
}

func sorted(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		b, _ := json.Marshal(v) // it comes from there
		out[i] = string(b)
	}
	slices.Sort(out)
	return out
}

func bounds(list []any) (least, most float64, ok bool) {
	if len(list) != 2 {
		return 0, 0, false
	}
	least, ok1 := list[0].(float64)
	most, ok2 := list[1].(float64)
	return least, most, ok1 && ok2
}

// fieldsOf wants every named field of the answer to be tolerated. One that is absent
// is null.
func fieldsOf(want map[string]any) (matcher, error) {
	if len(want) == 0 {
		return nil, errors.New("a tolerance of no field tolerates everything")
	}
	parts := map[string]matcher{}
	for name, w := range want {
		m, err := compile(w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		parts[name] = m
	}
	return func(answer any) bool {
		m, ok := answer.(map[string]any)
		for name, part := range parts {
			ok = ok && part(m[name])
		}
		return ok
	}, nil
}

// targeted looks at one field of the answer, if it has it.
func targeted(target any, m matcher) (matcher, error) {
	name, ok := target.(string)
	if target != nil && !ok {
		return nil, fmt.Errorf("target %v is no text", target)
	}
	return func(answer any) bool {
		if fields, ok := answer.(map[string]any); ok && name != "" {
			if v, ok := fields[name]; ok {
				answer = v
			}
		}
		return m(answer)
	}, nil
}

func typed(want map[string]any) (matcher, error) {
	text := func(name string) (string, error) {
		s, ok := want[name].(string)
		if !ok || s == "" {
			return "", fmt.Errorf("%v needs a %s", want["type"], name)
		}
		return s, nil
	}
	switch want["type"] {
	case "regex":
		pattern, err := text("pattern")
		if err != nil {
			return nil, err
		}
		return matching(pattern)
	case "jsonpath":
		path, err := text("path")
		if err != nil {
			return nil, err
		}
		return selecting(path, want)
	case "range":
		list, _ := want["range"].([]any)
		if _, _, ok := bounds(list); !ok {
			return nil, fmt.Errorf("a range needs two numbers, such as range: [0, 1.5]")
		}
		return func(answer any) bool { return among(list, numeric(answer)) }, nil
	}
	return nil, fmt.Errorf("type %v is not known", want["type"])
}

// numeric is what a text says, if it is one.
func numeric(v any) any {
	var f float64
	if s, ok := v.(string); ok && json.Unmarshal([]byte(strings.TrimSpace(s)), &f) == nil {
		return f
	}
	return v
}

func matching(pattern string) (matcher, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return func(answer any) bool {
		s, ok := answer.(string)
		return ok && re.MatchString(s)
	}, nil
}

// selecting wants a path to find something, so many, or just what is expected.
func selecting(path string, want map[string]any) (matcher, error) {
	p, err := jsonpath.NewParser().Parse(path)
	if err != nil {
		return nil, err
	}
	expect, expects := want["expect"]
	if _, ok := expect.([]any); expects && !ok {
		expect = []any{expect}
	}
	return func(answer any) bool {
		var inner any
		if s, ok := answer.(string); ok && json.Unmarshal([]byte(s), &inner) == nil {
			answer = inner
		}
		found := append([]any{}, p.Select(answer)...)
		switch {
		case expects:
			return reflect.DeepEqual(any(found), expect)
		case want["count"] != nil:
			return reflect.DeepEqual(want["count"], float64(len(found)))
		}
		return len(found) > 0
	}, nil
}
