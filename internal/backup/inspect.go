package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

// Format is the version of streams that this release reads: that of a cp group's state.
const Format = 2

// The first byte of a row's key, as cp groups write them. Others are counted as bytes
// only.
const (
	rowRecord = 'k'
	rowLease  = 'L'
)

// File is what a saved file holds: a keyspace, group after group.
type File struct {
	Cluster  string // that it was saved from
	Keyspace string
	Groups   []Group // by shard, from 0 without a gap
}

// Group is one stream of a file.
type Group struct {
	Offset, Bytes int64 // where the stream lies in the file
	Keys, Leases  uint64
	Revision      uint64 // at which the group was saved
	Epoch         uint64
	Node          string // that wrote it
	Saved         time.Time
}

// Keys is the number of keys in all groups.
func (f File) Keys() (n uint64) {
	for _, g := range f.Groups {
		n += g.Keys
	}
	return n
}

// endMark is the first part of a file's last stream; the second is the number of groups,
// in decimal. Without it a file that was cut between two groups would look whole.
const endMark = "the end of a dialkv snapshot"

// End writes the last stream of a file that holds so many groups.
func End(out io.Writer, groups int) error {
	w := NewWriter(out)
	w.Part([]byte(endMark))
	w.Part(strconv.AppendInt(nil, int64(groups), 10))
	return w.Close()
}

// Inspect reads a whole file, holding one row at a time, and says what is in it. An error
// that is ErrDamaged says which group is damaged and where its stream begins; the groups
// before it are in the File. Any other error is in's own.
func Inspect(in io.Reader) (File, error) {
	var f File
	counted := &counter{in: in}
	buffered := bufio.NewReaderSize(counted, 64<<10)
	for {
		g := Group{Offset: counted.n - int64(buffered.Buffered())}
		r := NewReader(buffered)
		first, err := r.Part()
		if err == nil && string(first) == endMark {
			return f, f.end(r, buffered)
		}
		if err == nil {
			err = f.group(&g, first, r)
		}
		if err == io.EOF {
			err = fmt.Errorf("%w: a stream without a header", ErrDamaged)
		}
		if err != nil {
			return f, fmt.Errorf("group %d, from byte %d of the file on: %w", len(f.Groups), g.Offset, err)
		}
		g.Bytes = counted.n - int64(buffered.Buffered()) - g.Offset
		f.Groups = append(f.Groups, g)
	}
}

// end reads the rest of the last stream, behind which there is nothing.
func (f *File) end(r *Reader, in *bufio.Reader) error {
	groups, err := r.Part()
	if err == nil {
		_, err = r.Part()
	}
	if err == nil || string(groups) != strconv.Itoa(len(f.Groups)) || len(f.Groups) == 0 {
		return fmt.Errorf("%w: it was written with %.20q groups, and has %d", ErrDamaged, groups, len(f.Groups))
	}
	if err == io.EOF {
		_, err = in.ReadByte()
	}
	if err == nil {
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// group reads a stream of which the first part was read.
func (f *File) group(g *Group, first []byte, r *Reader) error {
	h, err := parseHeader(first)
	if err != nil {
		return err
	}
	if err := f.add(h); err != nil {
		return err
	}
	g.Revision, g.Epoch, g.Node, g.Saved = h.State.Revision, h.State.Epoch, h.Node, time.UnixMilli(h.SavedMs)
	return g.rows(r)
}

// add refuses a stream that does not belong behind those before it.
func (f *File) add(h *logpb.SnapshotHeader) error {
	if len(f.Groups) == 0 {
		f.Cluster, f.Keyspace = h.Cluster, h.Name
	}
	switch {
	case h.Cluster != f.Cluster || h.Name != f.Keyspace:
		return fmt.Errorf("%w: it is of keyspace %q of cluster %.8s, the file is of %q of %.8s", ErrDamaged, h.Name, h.Cluster, f.Keyspace, f.Cluster)
	case int(h.Shard) != len(f.Groups):
		return fmt.Errorf("%w: it holds group %d", ErrDamaged, h.Shard)
	}
	return nil
}

// rows goes through the rest of a stream, to its checksum.
func (g *Group) rows(r *Reader) error {
	var last []byte
	for {
		key, err := r.Part()
		if err == io.EOF {
			return nil
		}
		if err == nil && bytes.Compare(key, last) <= 0 {
			err = fmt.Errorf("%w: its rows are not in order", ErrDamaged)
		}
		if err == nil {
			err = g.row(key, r)
		}
		if err != nil {
			return err
		}
		last = key
	}
}

// row reads the value of a row, and counts what it is.
func (g *Group) row(key []byte, r *Reader) error {
	value, err := r.Part()
	if err == io.EOF {
		return fmt.Errorf("%w: a key without a value", ErrDamaged)
	}
	if err != nil {
		return err
	}
	switch key[0] {
	case rowRecord:
		g.Keys++
		err = errors.Join(store.CheckKey(string(key[1:])), proto.Unmarshal(value, new(logpb.Record)))
	case rowLease:
		g.Leases++
		err = proto.Unmarshal(value, new(logpb.Lease))
	}
	if err != nil {
		return fmt.Errorf("%w: row %.40q: %w", ErrDamaged, key, err)
	}
	return nil
}

func parseHeader(b []byte) (*logpb.SnapshotHeader, error) {
	h := new(logpb.SnapshotHeader)
	if err := proto.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrDamaged, err)
	}
	if h.Version != Format || h.State == nil {
		return nil, fmt.Errorf("%w: it has format %d, this release reads %d", ErrDamaged, h.Version, Format)
	}
	return h, nil
}

// counter counts what was read through it.
type counter struct {
	in io.Reader
	n  int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.n += int64(n)
	return n, err
}
