package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Watcher hears of a run as it goes. Any of its functions may be nil. They are called
// one at a time, and the run waits for them.
type Watcher struct {
	// Phase is told the part that begins: hypothesis, method, hypothesis again, rollbacks.
	Phase func(name string)
	Say   func(text string)
	// Predict asks, and returns the choice; "" is none.
	Predict func(ctx context.Context, p Prediction) (choice string)
	// Reveal is told the answer once something has shown it.
	Reveal func(Guess)
	// Before is called before each step of the method; an error ends the run.
	Before func(ctx context.Context, s Step) error
	Done   func(Result)
}

// Options say how to play.
type Options struct {
	Cluster Cluster // may be nil if the experiment needs none
	Getenv  func(string) string
	Watcher Watcher
}

// run is one run of an experiment.
type run struct {
	experiment *Experiment
	world      *world // nil without a cluster
	config     values
	secrets    map[string]values
	watch      Watcher
	journal    *Journal
	open       []Guess // predictions that nothing has answered yet

	mu         sync.Mutex
	ended      map[string]time.Time
	background []*pending
}

// Run plays the experiment to its end and returns what came of it. An error says that it
// did not begin. Rollbacks are done also if ctx ends.
func (e *Experiment) Run(ctx context.Context, o Options) (*Journal, error) {
	r := &run{experiment: e, watch: o.Watcher, journal: newJournal(e), ended: map[string]time.Time{}, secrets: map[string]values{}}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	var err error
	if r.config, err = settle(e.configuration, o.Getenv); err != nil {
		return nil, err
	}
	for group, settings := range e.secrets {
		if r.secrets[group], err = settle(settings, o.Getenv); err != nil {
			return nil, err
		}
	}
	if e.Needs != nil {
		if o.Cluster == nil {
			return nil, &store.Error{Code: store.Invalid, Op: "lab", Msg: "the experiment needs a cluster"}
		}
		r.world = newWorld(o.Cluster)
		if err := r.world.create(ctx, e.Needs); err != nil {
			return nil, err
		}
	}
	r.play(ctx)
	if r.world != nil {
		// What a client says when it is closed changes nothing that was seen.
		_ = r.world.close()
		r.journal.history = r.world.tape
	}
	r.journal.end()
	return r.journal, nil
}

// play does the parts in their order.
func (r *run) play(ctx context.Context) {
	j, e := r.journal, r.experiment
	func() {
		defer r.caught()
		if e.Hypothesis != nil && e.strategy.hypothesis != "after-method-only" {
			if j.SteadyStates.Before = r.hypothesis(ctx, "hypothesis"); !j.SteadyStates.Before.Met {
				j.Status = Failed
				return
			}
		}
		r.method(ctx)
		if e.Hypothesis != nil && e.strategy.hypothesis != "before-method-only" && ctx.Err() == nil {
			if j.SteadyStates.After = r.hypothesis(ctx, "hypothesis again"); !j.SteadyStates.After.Met {
				j.deviate()
			}
		}
	}()
	if ctx.Err() != nil {
		j.Status = Interrupted
	}
	r.rollBack(context.WithoutCancel(ctx))
}

// caught turns a crash of the run into its end.
func (r *run) caught() {
	if v := recover(); v != nil {
		r.journal.Status, r.journal.Crash = Aborted, fmt.Sprintf("%v\n%s", v, debug.Stack())
	}
}

func (r *run) phase(name string) {
	if r.watch.Phase != nil {
		r.watch.Phase(name)
	}
}

// hypothesis asks every probe, until one is not tolerated.
func (r *run) hypothesis(ctx context.Context, phase string) *SteadyState {
	r.phase(phase)
	s := &SteadyState{Met: true, Probes: []Result{}}
	for _, a := range r.experiment.Hypothesis.Probes {
		result := r.perform(ctx, a)
		s.Probes = append(s.Probes, result)
		if !result.Held() {
			s.Met = false
			break
		}
	}
	return s
}

func (r *run) method(ctx context.Context) {
	r.phase("method")
	for _, s := range r.experiment.Method {
		if ctx.Err() != nil {
			break
		}
		if r.watch.Before != nil && r.watch.Before(ctx, s) != nil {
			r.journal.Status = Interrupted
			break
		}
		r.step(ctx, s)
	}
	r.settleBackground()
	r.reveal()
}

func (r *run) step(ctx context.Context, s Step) {
	if s.Say != "" && r.watch.Say != nil {
		r.watch.Say(s.Say)
	}
	if s.Predict != nil {
		g := Guess{Prediction: *s.Predict}
		if r.watch.Predict != nil {
			g.Given = r.watch.Predict(ctx, *s.Predict)
		}
		r.open = append(r.open, g)
	}
	a := s.Activity
	switch {
	case a == nil:
	case a.Background:
		r.start(ctx, a)
	default:
		result := r.perform(ctx, a)
		r.journal.Run = append(r.journal.Run, result)
		if !result.Held() {
			r.journal.deviate()
		}
		if result.Tolerated != nil {
			r.reveal()
		}
	}
}

// reveal tells the answers of what was asked.
func (r *run) reveal() {
	for _, g := range r.open {
		r.journal.Predictions = append(r.journal.Predictions, g)
		if r.watch.Reveal != nil {
			r.watch.Reveal(g)
		}
	}
	r.open = nil
}

func (r *run) endOf(name string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.ended[name]
	return t, ok
}

// rollBack does every rollback, also after one that failed.
func (r *run) rollBack(ctx context.Context) {
	defer r.caught()
	switch r.experiment.strategy.rollbacks {
	case "never":
		return
	case "deviated":
		if !r.journal.Deviated {
			return
		}
	}
	if len(r.experiment.Rollbacks) == 0 {
		return
	}
	r.phase("rollbacks")
	for _, a := range r.experiment.Rollbacks {
		r.journal.Rollbacks = append(r.journal.Rollbacks, r.perform(ctx, a))
	}
}

// perform does an activity and tells of it.
func (r *run) perform(ctx context.Context, a *Activity) Result {
	result := r.attempt(ctx, a)
	r.tell(result)
	return result
}

func (r *run) tell(result Result) {
	if r.watch.Done != nil {
		r.watch.Done(result)
	}
}

// attempt does an activity, with its pauses, and looks at its answer.
func (r *run) attempt(ctx context.Context, a *Activity) (result Result) {
	result = Result{Activity: a.document, Name: a.Name, Type: a.Type, Status: succeeded}
	wait(ctx, a.Before)
	began := time.Now()
	defer func() {
		if v := recover(); v != nil {
			result.fail(fmt.Errorf("it crashed: %v\n%s", v, debug.Stack()))
		}
		result.span(began, time.Now())
		r.mu.Lock()
		r.ended[a.Name] = time.Now()
		r.mu.Unlock()
		wait(ctx, a.After)
	}()
	output, err := a.provider.do(ctx, r)
	result.Output = canonical(output)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		result.fail(err)
		return result
	}
	if a.Tolerance == nil {
		return result
	}
	met, err := r.tolerates(ctx, a.Tolerance, result.Output)
	result.Tolerated = &met
	result.Wanted = a.Tolerance.document
	if err != nil {
		result.fail(err)
	}
	return result
}

// tolerates asks the tolerance about an answer.
func (r *run) tolerates(ctx context.Context, t *tolerance, answer any) (bool, error) {
	if t.probe != nil {
		output, err := t.probe.provider.do(ctx, r.with("value", answer))
		m, _ := canonical(output).(map[string]any)
		if status, ok := m["status"]; ok {
			return status == float64(0) || status == float64(200), err
		}
		return err == nil && output != false && output != nil, err
	}
	m, err := compile(r.config.fill(t.document))
	if err != nil {
		return false, err
	}
	return m(answer), nil
}

// with is the run with one more value to fill in.
func (r *run) with(name string, value any) *run {
	config := values{name: value}
	for k, v := range r.config {
		config[k] = v
	}
	return &run{experiment: r.experiment, world: r.world, config: config, secrets: r.secrets, journal: r.journal, ended: map[string]time.Time{}}
}

// filled is what a provider's words are in this run, with its secrets.
func (r *run) filled(document map[string]any) (map[string]any, error) {
	config := values{}
	for k, v := range r.config {
		config[k] = v
	}
	for _, group := range listed(document["secrets"]) {
		for k, v := range r.secrets[group] {
			config[k] = v
		}
	}
	out, ok := config.fill(document).(map[string]any)
	if !ok {
		return nil, errors.New("the provider is no mapping")
	}
	return out, nil
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// History is the record of all operations on data; nil if there was no cluster.
func (j *Journal) History() (*history.History, error) {
	if j.history == nil {
		return nil, nil
	}
	return j.history.read()
}
