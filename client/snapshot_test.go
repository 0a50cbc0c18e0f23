package client_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/backup"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/rpc"
	"github.com/dialkv/dialkv/store"
)

// holds wants a strong read of the key to find the value, or "" for nothing.
func holds(t *testing.T, ks *client.Keyspace, key, want string) {
	t.Helper()
	item, err := ks.Get(within(t, 10*time.Second), key, client.In(new(client.Session)))
	if err != nil || string(item.Value) != want {
		t.Errorf("%s holds %q, want %q: %v", key, item.Value, want, err)
	}
}

func TestARestoreBringsBackWhatWasSavedAndEndsWhatCameAfter(t *testing.T) {
	whole(t, 2, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		for i := range 20 {
			_, err := ks.Put(t.Context(), strconv.Itoa(i), []byte("saved"))
			must(t, err)
		}
		var file bytes.Buffer
		must(t, ks.Save(t.Context(), &file))
		saved, err := client.VerifySnapshot(bytes.NewReader(file.Bytes()))
		must(t, err)
		if saved.Keyspace != "ks" || len(saved.Groups) != 2 || saved.Keys() != 20 {
			t.Errorf("saved %+v", saved)
		}
		c := join(t, m, "")
		session := c.NewSession()
		_, err = c.Keyspace("ks").Put(t.Context(), "0", []byte("later"), client.In(session))
		must(t, err)
		_, err = ks.Put(t.Context(), "new", []byte("later"))
		must(t, err)

		done, err := ks.Restore(t.Context(), bytes.NewReader(file.Bytes()))
		must(t, err)
		if done.Keys != 20 || len(done.Groups) != 2 || done.Groups[1].Epoch == 0 || done.Groups[1].Revision <= saved.Groups[1].Revision {
			t.Errorf("restored %+v of %+v", done, saved)
		}
		holds(t, ks, "0", "saved")
		holds(t, ks, "new", "")
		_, err = c.Keyspace("ks").Get(t.Context(), "0", client.In(session))
		wantCode(t, err, store.TokenMismatch)
	})
}

// changing is a file that somebody writes into once it was verified.
type changing struct {
	*bytes.Reader
	seeks, damaged int // damaged: the byte that is another one then
}

func (c *changing) Seek(offset int64, whence int) (int64, error) {
	c.seeks++
	return c.Reader.Seek(offset, whence)
}

func (c *changing) Read(b []byte) (int, error) {
	at, _ := c.Reader.Seek(0, io.SeekCurrent)
	n, err := c.Reader.Read(b)
	if i := c.damaged - int(at); c.seeks > 1 && i >= 0 && i < n {
		b[i]++
	}
	return n, err
}

func TestARestoreSaysHowFarItCame(t *testing.T) {
	whole(t, 2, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		for i := range 20 {
			_, err := ks.Put(t.Context(), strconv.Itoa(i), []byte("saved"))
			must(t, err)
		}
		var file bytes.Buffer
		must(t, ks.Save(t.Context(), &file))
		saved, err := client.VerifySnapshot(bytes.NewReader(file.Bytes()))
		must(t, err)
		for i := range 20 {
			_, err := ks.Put(t.Context(), strconv.Itoa(i), []byte("later"))
			must(t, err)
		}

		// The end of the first group: nothing was changed, and it can be said for certain.
		first := int(saved.Groups[0].Bytes) - 1
		done, err := ks.Restore(t.Context(), &changing{Reader: bytes.NewReader(file.Bytes()), damaged: first})
		wantCode(t, err, store.Corrupt)
		if len(done.Groups) > 0 || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%+v, %v", done, err)
		}
		items := 0
		for item, err := range ks.Scan(t.Context(), store.Query{}) {
			must(t, err)
			if items++; string(item.Value) != "later" {
				t.Errorf("%s holds %s", item.Key, item.Value)
			}
		}

		second := int(saved.Groups[1].Offset+saved.Groups[1].Bytes) - 1
		done, err = ks.Restore(t.Context(), &changing{Reader: bytes.NewReader(file.Bytes()), damaged: second})
		wantCode(t, err, store.Unknown)
		if len(done.Groups) != 1 || !strings.Contains(err.Error(), "1 of 2 groups were replaced") || !strings.Contains(store.AsError(err).Try, "can be repeated") {
			t.Errorf("%+v, %v", done, err)
		}
		_, err = ks.Restore(t.Context(), bytes.NewReader(file.Bytes()))
		must(t, err)
		holds(t, ks, "0", "saved")
	})
}

func TestARestoreRefusesWhatDoesNotBelongThere(t *testing.T) {
	whole(t, 2, func(t *testing.T, m *localcluster.Memory, ks *client.Keyspace) {
		_, err := ks.Put(t.Context(), "k", []byte("here"))
		must(t, err)
		for _, c := range []struct {
			what string
			file []byte
			opts []client.Option
			code store.Code
		}{
			{"another cluster", snapshot(t, "other", "ks", 2), nil, store.Invalid},
			{"too few groups", snapshot(t, "other", "ks", 1), []client.Option{client.FromAnywhere()}, store.Invalid},
			{"a file that was cut", snapshot(t, "other", "ks", 2)[:60], []client.Option{client.FromAnywhere()}, store.Corrupt},
			{"an option of a read", snapshot(t, "other", "ks", 2), []client.Option{client.At(client.Strong)}, store.Invalid},
		} {
			_, err := ks.Restore(t.Context(), bytes.NewReader(c.file), c.opts...)
			if err == nil || store.AsError(err).Code != c.code || store.AsError(err).Try == "" && c.code != store.Invalid {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		holds(t, ks, "k", "here")
		done, err := ks.Restore(t.Context(), bytes.NewReader(snapshot(t, "other", "shop", 2)), client.FromAnywhere())
		must(t, err)
		if done.Keys != 2 {
			t.Errorf("%+v", done)
		}
		holds(t, ks, "k", "")

		wantCode(t, join(t, m, "").Keyspace("ap").Save(t.Context(), io.Discard), store.Unsupported)
		wantCode(t, join(t, m, "n1").Keyspace("ks").Save(t.Context(), io.Discard), store.Unsupported)
		wantCode(t, ks.Save(t.Context(), io.Discard, client.FromAnywhere()), store.Invalid)
		_, err = join(t, m, "").Keyspace("none").Restore(t.Context(), bytes.NewReader(snapshot(t, "other", "none", 1)))
		wantCode(t, err, store.NoSuchKeyspace)
		if try := store.AsError(err).Try; !strings.HasPrefix(try, "kvctl keyspace create none") {
			t.Errorf("try: %s", try)
		}
	})
}

// stream is a group of a file, with one key.
func stream(t *testing.T, cluster, keyspace string, shard uint32) []byte {
	t.Helper()
	encode := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		must(t, err)
		return b
	}
	var out bytes.Buffer
	w := backup.NewWriter(&out)
	w.Part(encode(&logpb.SnapshotHeader{Version: backup.Format, Shard: shard, Cluster: cluster, Name: keyspace, State: &logpb.State{Version: 1, Revision: 9}}))
	w.Part([]byte("kkey" + strconv.Itoa(int(shard))))
	w.Part(encode(&logpb.Record{Value: []byte("v"), CreateRevision: 9, ModifyRevision: 9, Version: 1}))
	must(t, w.Close())
	return out.Bytes()
}

func snapshot(t *testing.T, cluster, keyspace string, groups int) []byte {
	t.Helper()
	var out bytes.Buffer
	for n := range groups {
		out.Write(stream(t, cluster, keyspace, uint32(n)))
	}
	must(t, backup.End(&out, groups))
	return out.Bytes()
}

// keeper is a node's admin API, as far as a test says what it does.
type keeper struct {
	rpc.Admin
	n *node
}

func (k keeper) SaveSnapshot(_ *kvpb.SaveSnapshotRequest, stream grpc.ServerStreamingServer[kvpb.SnapshotChunk]) error {
	return k.n.save(stream)
}

func (k keeper) RestoreSnapshot(stream grpc.ClientStreamingServer[kvpb.SnapshotChunk, kvpb.RestoreSnapshotResponse]) error {
	n := int64(0)
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		n += int64(len(chunk.GetData()))
	}
	if err := k.n.restore(n); err != nil {
		return err
	}
	return stream.SendAndClose(&kvpb.RestoreSnapshotResponse{Keys: 1, Epoch: 2})
}

type sending = grpc.ServerStreamingServer[kvpb.SnapshotChunk]

// breaking lets every node but the last that is asked break off in the middle.
func breaking(w *cluster, whole []byte) (asked *int) {
	asked = new(int)
	for _, n := range w.nodes {
		n.save = func(s sending) error {
			*asked++
			half := len(whole) / 2
			if err := s.Send(&kvpb.SnapshotChunk{Data: whole[:half]}); err != nil || *asked < len(w.nodes) {
				return errors.Join(err, &store.Error{Code: store.Unavailable, Msg: "it stops"})
			}
			return s.Send(&kvpb.SnapshotChunk{Data: whole[half:]})
		}
	}
	return asked
}

func TestASaveIntoAFileGoesOnAtAnotherMember(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		asked := breaking(w, stream(t, clusterID, "ks", 0))
		path := filepath.Join(t.TempDir(), "ks.snap")
		f, err := os.Create(path)
		must(t, err)
		must(t, w.keyspace().Save(t.Context(), f))
		must(t, f.Close())
		got, err := os.ReadFile(path)
		must(t, err)
		if want := snapshot(t, clusterID, "ks", 1); !bytes.Equal(got, want) || *asked != len(w.nodes) {
			t.Errorf("%d nodes were asked, and the file has %d bytes, want %d", *asked, len(got), len(want))
		}
	})
}

func TestASaveIntoAStreamEndsWhereItBreaksOff(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		asked := breaking(w, stream(t, clusterID, "ks", 0))
		var out bytes.Buffer
		err := w.keyspace().Save(t.Context(), &out)
		wantCode(t, err, store.Unavailable)
		if *asked != 1 || !strings.Contains(err.Error(), "cannot be taken back") {
			t.Errorf("%d nodes were asked: %v", *asked, err)
		}
		_, err = client.VerifySnapshot(&out)
		wantCode(t, err, store.Corrupt)
	})
}

// full is a disk that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestASaveThatCannotBeWrittenAsksNobodyElse(t *testing.T) {
	world(t, store.CP, func(t *testing.T, w *cluster) {
		asked := breaking(w, stream(t, clusterID, "ks", 0))
		err := w.keyspace().Save(t.Context(), full{})
		wantCode(t, err, store.Denied)
		if *asked != 1 || !strings.Contains(err.Error(), "no space left") || store.AsError(err).Node != "" {
			t.Errorf("%d nodes were asked: %v", *asked, err)
		}
	})
}

// A restore that may have been done is not done again behind the caller's back: it would
// undo what was written since.
func TestARestoreIsRepeatedOnlyWhileNothingWasChanged(t *testing.T) {
	for code, want := range map[store.Code]store.Code{store.NotLeader: "", store.Unavailable: "", store.Unknown: store.Unknown, store.Corrupt: store.Corrupt} {
		t.Run(string(code), func(t *testing.T) {
			world(t, store.CP, func(t *testing.T, w *cluster) {
				file := snapshot(t, clusterID, "ks", 1)
				asked := 0
				for _, n := range w.nodes {
					n.restore = func(bytes int64) error {
						if want := int64(len(stream(t, clusterID, "ks", 0))); bytes != want {
							t.Errorf("attempt %d brought %d bytes, want %d", asked, bytes, want)
						}
						if asked++; asked < 3 {
							return &store.Error{Code: code, Msg: "not now"}
						}
						return nil
					}
				}
				done, err := w.keyspace().Restore(within(t, time.Minute), bytes.NewReader(file))
				if want == "" {
					if err != nil || asked != 3 || len(done.Groups) != 1 {
						t.Errorf("%d attempts: %+v, %v", asked, done, err)
					}
					return
				}
				wantCode(t, err, want)
				if asked != 1 {
					t.Errorf("%d attempts", asked)
				}
			})
		})
	}
}
