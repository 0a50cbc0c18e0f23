package lab

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// step reads a part of the method.
func (r *reader) step(n *yaml.Node) Step {
	var s Step
	words := 0
	for _, f := range r.fields(n, "a step", stepWords) {
		words++
		switch f.name {
		case "say":
			s.Say = r.text(f.value, "say")
			words--
		case "predict":
			s.Predict = r.prediction(f.value)
			words--
		}
	}
	if words > 0 || s.Say == "" && s.Predict == nil {
		s.Activity = r.activity(n, stepWords)
	}
	return s
}

func (r *reader) prediction(n *yaml.Node) *Prediction {
	p := &Prediction{}
	for _, f := range r.fields(n, "predict", predictWords) {
		switch f.name {
		case "ask":
			p.Ask = r.text(f.value, "ask")
		case "answer":
			p.Answer = r.text(f.value, "answer")
		case "why":
			p.Why = r.text(f.value, "why")
		case "choices":
			for _, c := range r.list(f.value, "choices", maxChoices) {
				p.Choices = append(p.Choices, r.text(c, "a choice"))
			}
		}
	}
	switch {
	case p.Ask == "" || len(p.Choices) < 2:
		r.wrong(n, "predict needs an ask and at least two choices")
	case !slices.Contains(p.Choices, p.Answer):
		r.wrong(n, "the answer %q is none of the choices", p.Answer)
	}
	return p
}

// activity reads an action or a probe. Words that are the caller's own, it passes over.
func (r *reader) activity(n *yaml.Node, words []string) *Activity {
	a := &Activity{}
	a.document, _ = r.plain(n).(map[string]any)
	given := map[string]*yaml.Node{}
	for _, f := range r.fields(n, "an activity", words) {
		given[f.name] = f.value
	}
	if given["ref"] != nil {
		return r.ref(given["ref"], len(given))
	}
	for _, name := range activityWords {
		v := given[name]
		if v == nil {
			continue
		}
		switch name {
		case "type":
			a.Type = r.word(v, "type", []string{"action", "probe"})
		case "name":
			a.Name = r.text(v, "name")
		case "background":
			a.Background = r.yes(v, "background")
		case "tolerance":
			a.Tolerance = r.tolerance(v)
		case "controls":
			r.controls(v)
		case "pauses":
			a.Before, a.After = r.pauses(v)
		}
	}
	r.complete(n, a, given)
	return a
}

func (r *reader) pauses(n *yaml.Node) (before, after time.Duration) {
	for _, f := range r.fields(n, "pauses", pauseWords) {
		if d := r.pause(f.value, f.name); f.name == "before" {
			before = d
		} else {
			after = d
		}
	}
	return before, after
}

// complete reads the provider, which depends on the type, and wants what must be there.
func (r *reader) complete(n *yaml.Node, a *Activity, given map[string]*yaml.Node) {
	for _, word := range []string{"type", "name", "provider"} {
		if given[word] == nil && n.Kind == yaml.MappingNode {
			r.wrong(n, "an activity needs a %s", word)
		}
	}
	if a.Tolerance != nil && a.Background {
		r.wrong(n, "%q is in the background and has a tolerance: nothing waits for its answer; see await", a.Name)
	}
	if p := given["provider"]; p != nil {
		a.provider = r.provider(p, a)
	}
	if a.Name != "" && r.named[a.Name] == nil {
		r.named[a.Name] = a
	}
}

// ref is an activity that stands somewhere before.
func (r *reader) ref(n *yaml.Node, words int) *Activity {
	name := r.text(n, "ref")
	a := r.named[name]
	switch {
	case words > 1:
		r.wrong(n, "a ref stands alone")
	case a == nil:
		r.wrong(n, "there is no activity %q before this one", name)
	}
	if a == nil {
		return &Activity{Name: name}
	}
	return a
}
