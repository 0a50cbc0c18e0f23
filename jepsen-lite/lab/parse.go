package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/dialkv/dialkv/store"
)

// Parse reads an experiment, YAML or JSON. name is what complaints call the file. The
// error is Invalid and has a line for everything that is wrong, with the file's line.
func Parse(name string, data []byte) (*Experiment, error) {
	root, err := document(name, data)
	if err != nil {
		return nil, err
	}
	r := &reader{file: name, named: map[string]*Activity{}}
	root, ok := r.resolve(root, 0)
	if !ok {
		return nil, r.err()
	}
	e := r.experiment(root)
	if err := r.err(); err != nil {
		return nil, err
	}
	return e, nil
}

// document is the one YAML document of a file.
func document(name string, data []byte) (*yaml.Node, error) {
	invalid := func(format string, args ...any) error {
		return &store.Error{Code: store.Invalid, Op: "lab", Msg: name + ": " + fmt.Sprintf(format, args...), Try: "kvctl lab new, which writes a file to begin with"}
	}
	if len(data) > MaxFile {
		return nil, invalid("the file has %d bytes, at most %d are allowed", len(data), MaxFile)
	}
	if json.Valid(data) {
		// A tab of JSON stands between words only, where YAML may not have one.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return nil, invalid("the file is empty")
	case err != nil:
		return nil, invalid("%v", err)
	case !errors.Is(decoder.Decode(&more), io.EOF):
		return nil, invalid("the file holds more than one document")
	}
	return doc.Content[0], nil
}

func (r *reader) experiment(n *yaml.Node) *Experiment {
	e := &Experiment{Name: r.file, strategy: strategies{"default", "default"}, configuration: map[string]setting{}, secrets: map[string]map[string]setting{}}
	given := map[string]*yaml.Node{}
	for _, f := range r.fields(n, "an experiment", rootWords) {
		given[f.name] = f.value
	}
	for _, word := range rootWords { // the hypothesis' probes can be referred to by the method
		if v := given[word]; v != nil {
			r.root(e, word, v)
		}
	}
	for _, word := range []string{"title", "description", "method"} {
		if given[word] == nil && n.Kind == yaml.MappingNode {
			r.wrong(n, "an experiment needs a %s", word)
		}
	}
	if e.Needs == nil {
		e.forEach(func(a *Activity) {
			if _, ok := a.provider.(*kvProvider); ok {
				r.wrong(n, "%q asks a cluster, and the experiment says nothing of one: it needs a cluster", a.Name)
			}
		})
	}
	e.document = r.plain(n)
	return e
}

// forEach calls f with every activity.
func (e *Experiment) forEach(f func(*Activity)) {
	if e.Hypothesis != nil {
		for _, a := range e.Hypothesis.Probes {
			f(a)
		}
	}
	for _, s := range e.Method {
		if s.Activity != nil {
			f(s.Activity)
		}
	}
	for _, a := range e.Rollbacks {
		f(a)
	}
}

// root reads one of the words of the root.
func (r *reader) root(e *Experiment, word string, n *yaml.Node) {
	switch word {
	case "version":
		r.text(n, word)
	case "title":
		e.Title = r.text(n, word)
	case "description":
		e.Description = r.text(n, word)
	case "tags":
		for _, tag := range r.list(n, word, maxSteps) {
			e.Tags = append(e.Tags, r.text(tag, "a tag"))
		}
	case "configuration":
		e.configuration = r.settings(n, word)
	case "secrets":
		for _, group := range r.fields(n, word, nil) {
			e.secrets[group.name] = r.settings(group.value, "the secrets "+group.name)
		}
	case "contributions":
		for _, f := range r.fields(n, word, nil) {
			r.word(f.value, "the contribution to "+f.name, contributionWords)
		}
	case "cluster":
		e.Needs = r.cluster(n)
		r.needed = e.Needs
	case "steady-state-hypothesis":
		e.Hypothesis = r.hypothesis(n)
	case "method":
		for _, step := range r.list(n, word, maxSteps) {
			e.Method = append(e.Method, r.step(step))
		}
	case "rollbacks":
		for _, a := range r.list(n, word, maxSteps) {
			e.Rollbacks = append(e.Rollbacks, r.activity(a, activityWords))
		}
	case "runtime":
		e.strategy = r.runtime(n)
	case "dry":
		if r.yes(n, word) {
			r.wrong(n, "an experiment is not played dry; kvctl lab verify looks at the file and does nothing")
		}
	case "controls":
		r.controls(n)
	}
}

// controls are code of the Chaos Toolkit's, which is not here: none may be left out in
// silence.
func (r *reader) controls(n *yaml.Node) {
	if len(r.list(n, "controls", maxSteps)) > 0 {
		r.wrong(n, "controls are Python of the Chaos Toolkit, and are not run here: take them out, or run the file with chaos run")
	}
}

func (r *reader) settings(n *yaml.Node, what string) map[string]setting {
	out := map[string]setting{}
	for _, f := range r.fields(n, what, nil) {
		m, ok := r.plain(f.value).(map[string]any)
		if kind, typed := m["type"]; !ok || !typed {
			out[f.name] = setting{value: r.plain(f.value)}
			continue
		} else if kind != "env" {
			r.wrong(f.value, "%s %s is of type %v; only env is known", what, f.name, kind)
			continue
		}
		s := setting{kind: "str", must: true}
		for _, part := range r.fields(f.value, f.name, settingWords) {
			switch part.name {
			case "key":
				s.env = r.text(part.value, "key")
			case "default":
				s.value, s.must = r.plain(part.value), false
			case "env_var_type":
				s.kind = r.word(part.value, "env_var_type", settingKinds)
			}
		}
		if s.env == "" {
			r.wrong(f.value, "%s %s needs a key: the name of the variable", what, f.name)
		}
		out[f.name] = s
	}
	return out
}

func (r *reader) cluster(n *yaml.Node) *Needs {
	needs := &Needs{Nodes: 5, Timing: Classroom}
	for _, f := range r.fields(n, "cluster", clusterWords) {
		switch f.name {
		case "nodes":
			needs.Nodes = r.count(f.value, "nodes", 1, 7)
		case "timing":
			needs.Timing = r.word(f.value, "timing", timings)
		case "keyspaces":
			for _, k := range r.list(f.value, "keyspaces", maxKeyspaces) {
				needs.Keyspaces = append(needs.Keyspaces, r.keyspace(k))
			}
		}
	}
	for i, k := range needs.Keyspaces {
		if k.Replicas > needs.Nodes {
			r.wrong(n, "keyspace %s has %d replicas, and there are %d nodes", k.Name, k.Replicas, needs.Nodes)
		}
		if slices.ContainsFunc(needs.Keyspaces[:i], func(other Keyspace) bool { return other.Name == k.Name }) {
			r.wrong(n, "keyspace %s is there twice", k.Name)
		}
	}
	return needs
}

func (r *reader) keyspace(n *yaml.Node) (k Keyspace) {
	for _, f := range r.fields(n, "a keyspace", keyspaceWords) {
		var err error
		switch f.name {
		case "name":
			k.Name = r.text(f.value, "name")
			err = store.CheckName("keyspace", k.Name)
		case "mode":
			k.Mode = r.word(f.value, "mode", []string{"cp", "ap"})
		case "replicas":
			k.Replicas = r.count(f.value, "replicas", 1, 7)
		case "groups":
			k.Groups = r.count(f.value, "groups", 1, 64)
		case "conflict":
			k.Conflict = r.text(f.value, "conflict")
			_, err = store.ParsePolicy(k.Conflict)
		case "w":
			k.W = r.text(f.value, "w")
			_, err = store.ParseW(k.W)
		case "durability":
			k.Durability = r.text(f.value, "durability")
			_, err = store.ParseDurability(k.Durability)
		}
		if err != nil {
			r.wrong(f.value, "%s", store.AsError(err).Msg)
		}
	}
	if k.Name == "" || k.Mode == "" {
		r.wrong(n, "a keyspace needs a name and a mode")
	}
	return k
}

func (r *reader) hypothesis(n *yaml.Node) *Hypothesis {
	h := &Hypothesis{}
	for _, f := range r.fields(n, "the hypothesis", hypothesisWords) {
		switch f.name {
		case "title":
			h.Title = r.text(f.value, "title")
		case "controls":
			r.controls(f.value)
		case "probes":
			for _, p := range r.list(f.value, "probes", maxSteps) {
				a := r.activity(p, activityWords)
				if a.Tolerance == nil {
					r.wrong(p, "probe %q of the hypothesis needs a tolerance", a.Name)
				}
				h.Probes = append(h.Probes, a)
			}
		}
	}
	if h.Title == "" {
		r.wrong(n, "the hypothesis needs a title")
	}
	return h
}

func (r *reader) runtime(n *yaml.Node) strategies {
	s := strategies{"default", "default"}
	for _, f := range r.fields(n, "runtime", []string{"hypothesis", "rollbacks"}) {
		for _, part := range r.fields(f.value, f.name, []string{"strategy"}) {
			if f.name == "hypothesis" {
				s.hypothesis = r.word(part.value, "strategy", hypothesisStrategies)
			} else {
				s.rollbacks = r.word(part.value, "strategy", rollbackStrategies)
			}
		}
	}
	return s
}
