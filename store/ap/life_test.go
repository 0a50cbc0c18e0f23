package ap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

func TestCallsEndWithTheReplica(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2"})
		r := w.at("n1")
		ahead := w.put("n2", "k", "v").Entry
		var calls sync.WaitGroup
		calls.Go(func() {
			c := put("k", "v")
			c.W = store.WAll
			_, err := r.Write(w.t.Context(), c)
			w.fails(err, store.NotReplicated)
		})
		calls.Go(func() {
			_, err := r.Read(w.t.Context(), store.Query{Key: "k", After: ahead})
			w.fails(err, store.Unavailable)
		})
		time.Sleep(time.Second)
		w.stop("n1")
		calls.Wait()
		_, err := r.Write(w.t.Context(), put("k", "v"))
		w.fails(err, store.Unavailable)
		_, err = r.Read(w.t.Context(), store.Query{Key: "k"})
		w.fails(err, store.Unavailable)
		if r.Status().Ready {
			t.Error("a replica that has stopped says it is ready")
		}
	})
}

func TestReplicaServesNothingBeforeItRuns(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		e, err := engine.Open(engine.Config{Dir: "data", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		r, err := Open(Config{Node: "n1", Placement: Placement{Members: []string{"n1"}}, Engine: e})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := within(time.Second)
		defer cancel()
		if _, err := r.Write(ctx, put("k", "v")); !errors.Is(err, store.Unavailable) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestWriterIsToldWhenTooManyWait(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		// The disk takes a second for every sync, but not while it is opened or closed:
		// Pebble then syncs under a mutex, and no virtual time passes for one who waits
		// for that.
		var busy atomic.Bool
		slow := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if busy.Load() && op.Kind == errorfs.OpFileSyncData {
				time.Sleep(time.Second)
			}
			return nil
		}))
		e, err := engine.Open(engine.Config{Dir: "data", FS: slow, MemTable: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(Config{Node: "n1", Placement: Placement{Members: []string{"n1"}}, Engine: e})
		if err != nil {
			t.Fatal(err)
		}
		busy.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		got := make([]error, 20)
		var writers sync.WaitGroup
		for i := range got {
			patience := 20 * time.Second
			if i < 2 {
				patience = 500 * time.Millisecond
			}
			writers.Go(func() {
				ctx, cancel := within(patience)
				defer cancel()
				_, got[i] = r.Write(ctx, store.Command{Op: store.Put, Key: fmt.Sprint(i), Value: make([]byte, store.MaxValue)})
			})
			synctest.Wait()
		}
		writers.Wait()
		for i, err := range got {
			var want store.Code // for most: none
			switch {
			case i == 0:
				want = store.Unknown // on its way to the disk when its deadline came
			case i == 1:
				want = store.Unavailable // still in the queue
			case i > 15:
				want = store.Overloaded
			}
			if want == "" && err != nil || want != "" && !errors.Is(err, want) {
				t.Errorf("write %d: %v, want %q", i, err, want)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		busy.Store(false)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if r.queued.Load() != 0 {
			t.Errorf("%d bytes are queued", r.queued.Load())
		}
	})
}

func TestFailedDiskEndsTheReplicaAndLeavesTheWriteUnknown(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		var broken atomic.Bool
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if broken.Load() && op.Kind == errorfs.OpFileSyncData {
				time.Sleep(10 * time.Millisecond)
				return errors.New("input/output error")
			}
			return nil
		}))
		e, err := engine.Open(engine.Config{Dir: "data", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(Config{Node: "n1", Placement: Placement{Members: []string{"n1"}}, Engine: e})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- r.Run(t.Context()) }()
		if _, err := r.Write(t.Context(), put("k", "v")); err != nil {
			t.Fatal(err)
		}
		broken.Store(true)
		if _, err := r.Write(t.Context(), put("k", "w")); !errors.Is(err, store.Unknown) {
			t.Errorf("the error is %v", err)
		}
		if err := <-ended; !errors.Is(err, engine.ErrFailed) {
			t.Errorf("Run returned %v", err)
		}
		if _, err := r.Write(t.Context(), put("k", "x")); !errors.Is(err, store.Unavailable) {
			t.Errorf("the error is %v", err)
		}
		broken.Store(false)
		_ = e.Close()
	})
}
