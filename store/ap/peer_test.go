package ap

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// fakePeer is a source that says what it is told to.
type fakePeer struct {
	frames [][]byte
	ctx    context.Context
}

func (f *fakePeer) Stream(ctx context.Context, _ string) (Stream, error) {
	return &fakePeer{frames: f.frames, ctx: ctx}, nil
}

func (f *fakePeer) Call(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("nothing")
}

func (f *fakePeer) Send([]byte) error { return nil }

func (f *fakePeer) Recv() ([]byte, error) {
	if len(f.frames) == 0 {
		<-f.ctx.Done()
		return nil, f.ctx.Err()
	}
	frame := f.frames[0]
	f.frames = f.frames[1:]
	return frame, nil
}

type recorder struct{ frames [][]byte }

func (r *recorder) Send(b []byte) error {
	r.frames = append(r.frames, b)
	return nil
}
func (r *recorder) Recv() ([]byte, error) { return nil, errors.New("nothing") }

// framesOf encodes a hello and then frames.
func framesOf(t *testing.T, frames ...*logpb.Frame) [][]byte {
	var r recorder
	if err := sendHello(&r, 1, 0, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := send(&r, f); err != nil {
			t.Fatal(err)
		}
	}
	return r.frames
}

func entriesOf(t *testing.T, entries ...*entry) *logpb.Frame {
	f := &logpb.Entries{}
	for _, e := range entries {
		if err := e.encode(); err != nil {
			t.Fatal(err)
		}
		f.Writes = append(f.Writes, e.raw)
	}
	return &logpb.Frame{Kind: &logpb.Frame_Entries{Entries: f}}
}

func snapshotOf(piece *logpb.Snapshot) *logpb.Frame {
	return &logpb.Frame{Kind: &logpb.Frame_Snapshot{Snapshot: piece}}
}

func encodedSibling(t *testing.T, actor, n uint64) []byte {
	row, err := encodeSiblings([]causal.Sibling{{Dot: causal.Dot{Actor: causal.Actor(actor), N: n}}})
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func encoded(t *testing.T, f *logpb.Frame) []byte {
	var r recorder
	if err := send(&r, f); err != nil {
		t.Fatal(err)
	}
	return r.frames[0]
}

func named(actor, n uint64, key string) *entry {
	return &entry{key: key, Write: causal.Write{Dot: causal.Dot{Actor: causal.Actor(actor), N: n}}}
}

func TestGarbageFromAPeerIsReportedAndNotApplied(t *testing.T) {
	tooLong := named(5, 1, strings.Repeat("k", store.MaxKey+1))
	for name, frames := range map[string][][]byte{
		"no frame":              {[]byte("\xff\xff\xff")},
		"no hello":              framesOf(t, entriesOf(t, named(5, 1, "k")))[1:],
		"an ack":                framesOf(t, &logpb.Frame{Kind: &logpb.Frame_Ack{Ack: &logpb.Ack{}}}),
		"no write":              framesOf(t, &logpb.Frame{Kind: &logpb.Frame_Entries{Entries: &logpb.Entries{Writes: [][]byte{[]byte("x")}}}}),
		"a nameless write":      framesOf(t, entriesOf(t, named(0, 0, "k"))),
		"a key too long":        framesOf(t, entriesOf(t, named(5, 1, "k"), tooLong)),
		"a snapshot of nothing": framesOf(t, snapshotOf(&logpb.Snapshot{Last: true})),
		"a snapshot with a hole": framesOf(t, snapshotOf(&logpb.Snapshot{
			Vector: protoVector(causal.Vector{5: 1}), Last: true, Count: 2,
		})),
		"a snapshot out of order": framesOf(t, snapshotOf(&logpb.Snapshot{
			Vector: protoVector(causal.Vector{5: 1}), Rows: []*logpb.SnapshotRow{{Key: "b"}, {Key: "a"}},
		})),
		"a snapshot with more than it says": framesOf(t, snapshotOf(&logpb.Snapshot{
			Vector: protoVector(causal.Vector{5: 1}), Rows: []*logpb.SnapshotRow{{Key: "a", Siblings: encodedSibling(t, 5, 2)}},
		})),
		"a name that nobody had": framesOf(t, snapshotOf(&logpb.Snapshot{
			Vector: protoVector(causal.Vector{5: 1}), Rows: []*logpb.SnapshotRow{{Key: "a", Held: []*logpb.Dot{{Actor: 5, Number: 1}}}},
		})),
		"entries inside a snapshot": framesOf(t, snapshotOf(&logpb.Snapshot{Vector: protoVector(causal.Vector{5: 1})}), entriesOf(t, named(5, 1, "k"))),
		"a probe of nobody":         framesOf(t, &logpb.Frame{Kind: &logpb.Frame_Entries{Entries: &logpb.Entries{Probe: 1 << 60, Vector: &logpb.Vector{}}}}),
		"a number that was not named": framesOf(t, &logpb.Frame{Kind: &logpb.Frame_Entries{Entries: &logpb.Entries{
			Probe: 1, Vector: &logpb.Vector{Closed: 5},
		}}}),
		"too many lives": {encoded(t, &logpb.Frame{Kind: &logpb.Frame_Hello{Hello: &logpb.Hello{Version: wireVersion, Lives: make([]uint64, mostLives+1)}}})},
		"a crooked vector": framesOf(t, &logpb.Frame{Kind: &logpb.Frame_Entries{Entries: &logpb.Entries{
			Probe: 1, Vector: &logpb.Vector{Actors: []uint64{2, 1}, Numbers: []uint64{1, 1}},
		}}}),
	} {
		t.Run(name, func(t *testing.T) {
			refused, ups := alone(t, frames)
			if refused == 0 || ups != 0 {
				t.Errorf("%d refusals, %d writes applied", refused, ups)
			}
		})
	}
}

func TestGapEndsTheStreamAndDuplicatesDoNot(t *testing.T) {
	for name, c := range map[string]struct {
		frame   *logpb.Frame
		applied uint64
		again   bool
	}{
		"a gap":        {entriesOf(t, named(5, 1, "a"), named(5, 3, "b"), named(5, 2, "c")), 1, true},
		"a repetition": {entriesOf(t, named(5, 1, "a"), named(5, 1, "a"), named(5, 2, "b")), 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				ends := 0
				r, stop := loner(t, &fakePeer{frames: framesOf(t, c.frame)}, Events{Disconnected: func(string, error) { ends++ }})
				time.Sleep(2 * time.Second)
				revision := r.Status().Revision
				stop()
				if revision != c.applied || (ends > 0) != c.again {
					t.Errorf("%d writes applied, the stream ended %d times", revision, ends)
				}
			})
		})
	}
}

// alone runs one replica whose only peer sends these frames on every stream.
func alone(t *testing.T, frames [][]byte) (refused int, applied uint64) {
	linktest.Bubble(t, func(t *testing.T) {
		r, stop := loner(t, &fakePeer{frames: frames}, Events{Refused: func(peer string, err error) {
			if peer != "n2" || err == nil {
				t.Errorf("%s: %v", peer, err)
			}
			refused++
		}})
		time.Sleep(2 * time.Second)
		applied = r.Status().Revision
		stop()
	})
	return refused, applied
}

func loner(t *testing.T, peers Peers, events Events) (*Replica, func()) {
	e, err := engine.Open(engine.Config{Dir: "data", FS: vfs.NewMem(), MemTable: 256 << 10, Cache: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(Config{Node: "n1", Placement: Placement{Members: []string{"n1", "n2"}}, Engine: e, Peers: peers, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var why []error
		began := time.Now()
		var after time.Duration
		_, stop := loner(t, &fakePeer{}, Events{Disconnected: func(_ string, err error) {
			why = append(why, err)
			after = time.Since(began)
			began = time.Now()
		}})
		time.Sleep(20 * time.Second)
		stop()
		if len(why) < 4 || !errors.Is(why[0], errSilent) || after > silence+mostPause {
			t.Errorf("after %s: %v", after, why)
		}
	})
}

func TestStreamOfAStrangerIsDenied(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		err := w.at("n1").ServeStream(w.t.Context(), "stranger", &recorder{})
		w.fails(err, store.Denied)
		err = w.at("n1").ServeStream(w.t.Context(), "n1", &recorder{})
		w.fails(err, store.Denied)
	})
}
