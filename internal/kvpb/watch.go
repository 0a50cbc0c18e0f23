package kvpb

import "github.com/dialkv/dialkv/store"

// ToWatch fills the fields of a request that say what is watched.
func ToWatch(q store.WatchQuery) *WatchRequest {
	return &WatchRequest{Key: q.Key, Prefix: q.Prefix, All: q.All, From: q.From}
}

// FromWatch returns what is watched; After and Since are for the caller to take from the
// tokens.
func FromWatch(r *WatchRequest) store.WatchQuery {
	return store.WatchQuery{Key: r.GetKey(), Prefix: r.GetPrefix(), All: r.GetAll(), From: r.GetFrom()}
}

// ToChange returns one answer to a watch.
func ToChange(c store.Change) *WatchResponse {
	r := &WatchResponse{Revision: c.Revision, Entry: c.Entry, Deps: c.Deps}
	for _, e := range c.Events {
		if len(e.Values) > 0 {
			e.Value = nil // it is among them
		}
		r.Events = append(r.Events, &Event{
			Key: e.Key, Deleted: e.Deleted, Expired: e.Expired, Value: e.Value,
			Replaced: e.Replaced, Version: e.Version, Lease: e.Lease, Values: e.Values, Fields: e.Fields, Dot: e.Dot,
		})
	}
	return r
}

// FromChange returns the change, or the error that ends the watch.
func FromChange(r *WatchResponse) (store.Change, error) {
	if r.GetError() != nil {
		return store.Change{}, FromError(r.GetError())
	}
	c := store.Change{Revision: r.GetRevision(), Entry: r.GetEntry(), Deps: r.GetDeps()}
	for _, e := range r.GetEvents() {
		c.Events = append(c.Events, fromEvent(e))
	}
	return c, nil
}

func fromEvent(e *Event) store.Event {
	event := store.Event{
		Key: e.GetKey(), Deleted: e.GetDeleted(), Expired: e.GetExpired(), Value: e.GetValue(),
		Replaced: e.GetReplaced(), Version: e.GetVersion(), Lease: e.GetLease(), Values: e.GetValues(), Fields: e.GetFields(), Dot: e.GetDot(),
	}
	if len(event.Values) == 1 {
		event.Value = event.Values[0]
	}
	return event
}
