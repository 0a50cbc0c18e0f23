package lab

import (
	"context"
	"slices"
)

// pending is an activity in the background. result is there once done is closed.
type pending struct {
	name   string
	at     int // in the journal's run
	done   chan struct{}
	result Result
}

// start lets an activity run beside those that follow.
func (r *run) start(ctx context.Context, a *Activity) {
	b := &pending{name: a.Name, at: len(r.journal.Run), done: make(chan struct{})}
	r.journal.Run = append(r.journal.Run, Result{})
	r.mu.Lock()
	r.background = append(r.background, b)
	r.mu.Unlock()
	go func() {
		defer close(b.done)
		b.result = r.attempt(ctx, a)
	}()
}

// settleBackground waits for what is in the background and puts it into its place.
func (r *run) settleBackground() {
	r.mu.Lock()
	all := r.background
	r.background = nil
	r.mu.Unlock()
	for _, b := range all {
		<-b.done
		r.journal.Run[b.at] = b.result
		r.tell(b.result)
		if !b.result.Held() {
			r.journal.deviate()
		}
	}
}

func (r *run) inBackground(name string) *pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.background, func(b *pending) bool { return b.name == name })
	if i < 0 {
		return nil
	}
	return r.background[i]
}
