// Package backup is the form of a snapshot outside a node's engine: parts, each one
// more than its length, and its bytes; then a zero, and the CRC-32C of all before.
// The first part is a logpb.SnapshotHeader, the others are keys and values in turn, in
// the order of the keys.
//
// A file that people save holds one stream for each group of a keyspace, one behind
// the other, and a last one that says how many they are.
package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// ErrDamaged is what a stream that was cut short or changed is read as.
var ErrDamaged = errors.New("damaged snapshot")

// MaxPart bounds one part, so that a damaged length does not ask for all memory.
const MaxPart = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer writes the parts of one stream. Its first error stays.
type Writer struct {
	out *bufio.Writer
	sum hash.Hash32
	err error
}

// NewWriter writes to out; Close ends the stream, and does not close out.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: bufio.NewWriterSize(out, 64<<10), sum: crc32.New(castagnoli)}
}

// Part writes a part of at most MaxPart bytes.
func (w *Writer) Part(b []byte) {
	if w.err == nil && len(b) > MaxPart {
		w.err = fmt.Errorf("backup: a part of %d bytes, the limit is %d", len(b), MaxPart)
	}
	w.write(binary.AppendUvarint(nil, uint64(len(b))+1))
	w.write(b)
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	_, _ = w.sum.Write(b) // never fails
	_, w.err = w.out.Write(b)
}

// Err is the first error so far.
func (w *Writer) Err() error { return w.err }

// Close writes the end and the checksum.
func (w *Writer) Close() error {
	w.write([]byte{0})
	w.write(w.sum.Sum(nil))
	if w.err != nil {
		return w.err
	}
	return w.out.Flush()
}

// Reader reads the parts of one stream.
type Reader struct {
	in  *bufio.Reader
	sum hash.Hash32
}

// NewReader reads a stream from in. If in is a *bufio.Reader, what lies behind the
// stream stays in it.
func NewReader(in io.Reader) *Reader {
	buffered, ok := in.(*bufio.Reader)
	if !ok {
		buffered = bufio.NewReaderSize(in, 64<<10)
	}
	return &Reader{in: buffered, sum: crc32.New(castagnoli)}
}

// Part returns the next part, which the caller owns; io.EOF at the end of a stream
// whose checksum is right; else an error that is ErrDamaged, or in's own.
func (r *Reader) Part() ([]byte, error) {
	length := &summed{r: r}
	n, err := binary.ReadUvarint(length)
	if err != nil && length.err == nil {
		return nil, fmt.Errorf("%w: the length of a part: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, damaged(err)
	}
	if n == 0 {
		return nil, r.end()
	}
	if n > MaxPart+1 {
		return nil, fmt.Errorf("%w: a part of %d bytes", ErrDamaged, n-1)
	}
	b := make([]byte, n-1)
	if _, err := io.ReadFull(r.in, b); err != nil {
		return nil, damaged(err)
	}
	_, _ = r.sum.Write(b)
	return b, nil
}

func (r *Reader) end() error {
	want := r.sum.Sum32()
	var b [4]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return damaged(err)
	}
	if got := binary.BigEndian.Uint32(b[:]); got != want {
		return fmt.Errorf("%w: the checksum is %08x, what was read makes %08x", ErrDamaged, got, want)
	}
	return io.EOF
}

// damaged says of an end that comes too early what it is.
func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrDamaged)
	}
	return err
}

// summed reads single bytes, and counts them into the checksum.
type summed struct {
	r   *Reader
	err error // of the source
}

func (s *summed) ReadByte() (byte, error) {
	b, err := s.r.in.ReadByte()
	if err == nil {
		_, _ = s.r.sum.Write([]byte{b})
	}
	s.err = err
	return b, err
}
