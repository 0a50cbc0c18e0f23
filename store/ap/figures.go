package ap

import "time"

// Figures say how a replica is, beside its Status.
type Figures struct {
	Actors int   // that its vector names
	Closed int   // of all that there were, those that were closed
	Queued int64 // bytes that wait for the applier
	// Age is how old its state is at most: when the member that was heard longest ago was
	// asked what is here by now. Proved is false while some member was never heard.
	Age    time.Duration
	Proved bool
}

// Figures is a cheap, local look. It never blocks.
func (r *Replica) Figures() Figures {
	f := Figures{Queued: r.queued.Load()}
	vector, closures, _, err := r.views.seen()
	if err != nil || vector == nil {
		return f
	}
	f.Actors, f.Closed = len(vector), closures.Count()
	f.Age, f.Proved = r.fresh.age(time.Now(), vector)
	return f
}
