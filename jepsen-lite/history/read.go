package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dialkv/dialkv/store"
)

// Limits of a history that is read.
const (
	MaxLine   = 32 << 20 // bytes of a line: a page of large siblings, escaped
	MaxEvents = 4 << 20  // lines: more is several histories, or not one at all
)

// ErrEmpty says that a history holds no operation and no dump, so that nothing can
// be judged.
var ErrEmpty = errors.New("history: it is empty")

// LineError says which line makes a history invalid.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("history: line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

func lineError(line int, format string, args ...any) error {
	return &LineError{Line: line, Err: fmt.Errorf(format, args...)}
}

// Read reads a whole history. A last line that was cut off is left out and noted in
// Torn; its operation is unknown if it was an answer. Any other line that is not
// good makes the whole history invalid, and the error is a *LineError: nobody
// should be judged on half of what happened.
func Read(r io.Reader) (*History, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	var events []Event
	at := map[int64]int{} // seq → line
	torn := false
	for line := 1; ; line++ {
		text, whole, err := readLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, lineError(line, "%w", err)
		}
		if !whole && !json.Valid(text) {
			torn = true
			break
		}
		e, err := parse(text)
		if err != nil {
			return nil, lineError(line, "%w", err)
		}
		if first, twice := at[e.Seq]; twice {
			return nil, lineError(line, "seq %d is on line %d already", e.Seq, first)
		}
		if len(events) == MaxEvents {
			return nil, lineError(line, "more than %d lines", MaxEvents)
		}
		at[e.Seq] = line
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b Event) int { return int(min(1, max(-1, a.Seq-b.Seq))) })
	h, err := join(events, at)
	if err != nil {
		return nil, err
	}
	h.Torn = torn
	if len(h.Ops) == 0 && len(h.Replicas) == 0 {
		return nil, ErrEmpty
	}
	return h, nil
}

// readLine returns the next line without its end; whole is false for a last line
// that has none. The slice is the caller's.
func readLine(in *bufio.Reader) (text []byte, whole bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case len(text) > MaxLine:
			return nil, false, fmt.Errorf("longer than %d bytes", MaxLine)
		case err == nil:
			return bytes.TrimSuffix(text[:len(text)-1], []byte("\r")), true, nil
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(text) > 0:
			return text, false, nil
		default:
			return nil, false, err
		}
	}
}

func parse(line []byte) (Event, error) {
	if !utf8.Valid(line) {
		return Event{}, errors.New("not UTF-8")
	}
	var h head
	if err := json.Unmarshal(line, &h); err != nil {
		return Event{}, fmt.Errorf("not a JSON object of this format: %w", err)
	}
	if h.Seq == nil || *h.Seq < 0 || h.T < 0 {
		return Event{}, errors.New("seq is missing, or seq or t_ns is negative")
	}
	e := Event{Seq: *h.Seq, T: time.Duration(h.T), Type: h.Type, Line: line}
	if h.Type == Invoke || h.Type == Complete || h.Type == WatchAt {
		if h.OpID == nil {
			return Event{}, fmt.Errorf("type %q without op_id", h.Type)
		}
		e.OpID = *h.OpID
	}
	return e, e.body(line)
}

func (e *Event) body(line []byte) error {
	switch e.Type {
	case Invoke:
		e.Call = new(Call)
		return decode(line, e.Call, e.Call.check)
	case Complete:
		e.Answer = new(Answer)
		return decode(line, e.Answer, e.Answer.check)
	case WatchAt:
		e.Change = &Change{Seq: e.Seq, T: e.T}
		return decode(line, e.Change, e.Change.check)
	case FaultAt:
		e.Fault = new(Fault)
		return decode(line, e.Fault, e.Fault.check)
	case DumpKey, DumpEnd:
		e.Dump = new(Dump)
		return decode(line, e.Dump, func() error { return e.Dump.check(e.Type) })
	}
	return fmt.Errorf("type %q is none of invoke, complete, watch-event, fault, dump, dump-end", e.Type)
}

func decode(line []byte, into any, check func() error) error {
	if err := json.Unmarshal(line, into); err != nil {
		return err
	}
	return check()
}

func (c *Call) check() error {
	switch {
	case !kinds[c.Kind]:
		return fmt.Errorf("op %q is not known", c.Kind)
	case c.Mode != "cp" && c.Mode != "ap":
		return fmt.Errorf("mode %q is neither cp nor ap", c.Mode)
	case c.Conflict != "" && c.Mode != "ap":
		return fmt.Errorf("conflict %q on mode %q", c.Conflict, c.Mode)
	case keyed[c.Kind] && c.Key == "":
		return fmt.Errorf("a %s without key", c.Kind)
	}
	if err := levelKnown(c.Level); err != nil {
		return err
	}
	if c.Kind == Txn {
		return c.Atomic.check()
	}
	return nil
}

// levelKnown refuses a level of which no checker knows what it promises: it would be
// judged by nothing, and pass. A bound may stand behind the name.
func levelKnown(level string) error {
	if i := strings.IndexAny(level, ":("); i >= 0 {
		level = level[:i]
	}
	_, err := store.ParseLevel(level)
	return err
}

func (c *Change) check() error {
	if c.Revision == 0 && len(c.Events) > 0 {
		return errors.New("a watch-event with events and no revision")
	}
	for _, e := range c.Events {
		if e.Key == "" {
			return errors.New("a watch-event of no key")
		}
	}
	return nil
}

func (a *Answer) check() error {
	switch a.Outcome {
	case store.OK, store.Failed, store.Unclear:
		return nil
	}
	return fmt.Errorf("outcome %q is none of ok, fail, unknown", a.Outcome)
}

func (f *Fault) check() error {
	if f.Name == "" {
		return errors.New("a fault without a name")
	}
	if f.Phase != Begin && f.Phase != End {
		return fmt.Errorf("phase %q is neither begin nor end", f.Phase)
	}
	return nil
}

func (d *Dump) check(t Type) error {
	if d.Node == "" || d.Keyspace == "" {
		return fmt.Errorf("a %s without node or keyspace", t)
	}
	if t == DumpKey && d.Key == "" {
		return errors.New("a dump without key")
	}
	return nil
}
