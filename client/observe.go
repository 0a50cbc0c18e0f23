package client

// Observer is told what a client does about what does not work. Each function may be
// nil. They are called from the goroutines of the calls, several at once, and must return
// soon: a call waits for them. They must not call the client.
type Observer struct {
	// Breaker is told each change of a node's circuit.
	Breaker func(BreakerEvent)
	// Fallback is told each Get that a later step of Prefer answered, not as well.
	Fallback func(FallbackEvent)
	// Joined is told each read that got the answer of another one.
	Joined func(keyspace string)
}

// FallbackEvent is a degraded answer.
type FallbackEvent struct {
	Keyspace string
	Kind     FallbackKind
}

// BreakerEvent is a change of a node's circuit.
type BreakerEvent struct {
	Node     string
	From, To CircuitState
}

func (o Observer) breaker(e BreakerEvent) {
	if o.Breaker != nil {
		o.Breaker(e)
	}
}

func (o Observer) fallback(e FallbackEvent) {
	if o.Fallback != nil {
		o.Fallback(e)
	}
}

func (o Observer) joined(keyspace string) {
	if o.Joined != nil {
		o.Joined(keyspace)
	}
}
