package backup

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
)

func encoded(t testing.TB, m proto.Message) string {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// group is a sound stream with some keys and one lease.
func group(t testing.TB, h *logpb.SnapshotHeader, keys ...string) []byte {
	t.Helper()
	parts := []string{encoded(t, h), "L\x00\x01", encoded(t, &logpb.Lease{Id: 1})}
	for _, key := range keys {
		parts = append(parts, "k"+key, encoded(t, &logpb.Record{Value: []byte("v"), ModifyRevision: 7}))
	}
	return stream(t, append(parts, "s-unknown", "row")...)
}

// file is what a save writes: the streams, and the end.
func file(t testing.TB, streams ...[]byte) []byte {
	t.Helper()
	out := bytes.NewBuffer(bytes.Join(streams, nil))
	if err := End(out, len(streams)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func header(shard uint32) *logpb.SnapshotHeader {
	return &logpb.SnapshotHeader{
		Version: Format, Keyspace: 5, Shard: shard, Cluster: "c1", Name: "orders", Node: "n2", SavedMs: 1000,
		State: &logpb.State{Version: 1, Revision: 40 + uint64(shard), Epoch: 3},
	}
}

func TestInspectSaysWhatAFileHolds(t *testing.T) {
	first, second := group(t, header(0), "a", "b"), group(t, header(1), "c")
	f, err := Inspect(iotest.OneByteReader(bytes.NewReader(file(t, first, second))))
	if err != nil {
		t.Fatal(err)
	}
	if f.Cluster != "c1" || f.Keyspace != "orders" || len(f.Groups) != 2 || f.Keys() != 3 {
		t.Fatalf("got %+v", f)
	}
	g := f.Groups[1]
	if g.Offset != int64(len(first)) || g.Bytes != int64(len(second)) || g.Keys != 1 || g.Leases != 1 ||
		g.Revision != 41 || g.Epoch != 3 || g.Node != "n2" || g.Saved.UnixMilli() != 1000 {
		t.Errorf("got %+v", g)
	}
}

func TestInspectSaysWhatIsDamagedAndWhere(t *testing.T) {
	sound := group(t, header(0), "a")
	other := header(1)
	other.Name = "carts"
	newer := header(0)
	newer.Version = Format + 1
	record := encoded(t, &logpb.Record{})
	for what, c := range map[string]struct {
		file []byte
		want string
	}{
		"an empty file":            {nil, "it ends too early"},
		"no groups":                {file(t), `with "0" groups`},
		"a group less":             {append(bytes.Clone(sound), file(t, sound, group(t, header(1)))[len(sound)+len(group(t, header(1))):]...), `with "2" groups, and has 1`},
		"no end":                   {sound, "group 1, from byte"},
		"a longer end":             {append(bytes.Clone(sound), stream(t, endMark, "1", "2")...), "groups, and has 1"},
		"rest behind the end":      {append(file(t, sound), 1), "something follows"},
		"a file that is no backup": {[]byte("hello, world"), "group 0, from byte 0"},
		"a length beyond 64 bits":  {bytes.Repeat([]byte{0xff}, 12), "the length of a part"},
		"a group twice":            {file(t, sound, sound), "it holds group 0"},
		"another keyspace":         {file(t, sound, group(t, other)), `of keyspace "carts"`},
		"a format of the future":   {group(t, newer), "format 3, this release reads 2"},
		"no header":                {stream(t), "without a header"},
		"a header of nothing":      {stream(t, ""), "format 0"},
		"rows out of order":        {stream(t, encoded(t, header(0)), "kb", record, "ka", record), "not in order"},
		"a row twice":              {stream(t, encoded(t, header(0)), "ka", record, "ka", record), "not in order"},
		"a key without a value":    {stream(t, encoded(t, header(0)), "ka"), "a key without a value"},
		"an empty key":             {stream(t, encoded(t, header(0)), "k", record), "the key is empty"},
		"a record that is none":    {stream(t, encoded(t, header(0)), "ka", "\xff"), `row "ka"`},
		"rest behind a group":      {append(bytes.Clone(sound), 1), "group 1"},
	} {
		if _, err := Inspect(bytes.NewReader(c.file)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want damage with %q", what, err, c.want)
		}
	}
}

// Wherever a byte of the second group is changed, the first is still told.
func TestInspectTellsWhatIsSoundBeforeTheDamage(t *testing.T) {
	first, second := group(t, header(0), "a"), group(t, header(1), "b")
	for i := range second {
		b := file(t, first, second)
		b[len(first)+i] ^= 0x10
		f, err := Inspect(bytes.NewReader(b))
		if !errors.Is(err, ErrDamaged) || len(f.Groups) != 1 || !strings.HasPrefix(err.Error(), "group 1, ") {
			t.Fatalf("byte %d changed: %+v, %v", i, f, err)
		}
	}
}

// However a file is cut short, it is not sound.
func TestInspectSeesEveryCut(t *testing.T) {
	whole := file(t, group(t, header(0), "a"), group(t, header(1), "b"))
	for n := range whole {
		if _, err := Inspect(bytes.NewReader(whole[:n])); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d of %d: %v", n, len(whole), err)
		}
	}
}

func TestInspectPassesOnWhatReadingBrings(t *testing.T) {
	sound := group(t, header(0), "a")
	broken := errors.New("the disk is broken")
	for _, in := range []io.Reader{iotest.ErrReader(broken), io.MultiReader(bytes.NewReader(sound[:20]), iotest.ErrReader(broken)), io.MultiReader(bytes.NewReader(sound), iotest.ErrReader(broken))} {
		if _, err := Inspect(in); !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(file(f, group(f, header(0), "a", "b"), group(f, header(1))))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Inspect(bytes.NewReader(b))
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		if err == nil && len(file.Groups) == 0 {
			t.Error("sound, and nothing in it")
		}
	})
}
