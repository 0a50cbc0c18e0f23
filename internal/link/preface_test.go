package link

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/store"
)

func TestPrefaceReadsBackAndNoByteMore(t *testing.T) {
	long := strings.Repeat("n", store.MaxName)
	for _, p := range []preface{{"n1", "n2", Raft}, {long, long, Packet}} {
		r := bytes.NewReader(append(p.encode()[len(magic):], "rest"...))
		got, err := readPreface(r)
		rest, _ := io.ReadAll(r)
		if err != nil || got != p || string(rest) != "rest" {
			t.Errorf("%+v came back as %+v, %v, and %q", p, got, err, rest)
		}
		if n := len(p.encode()); n > prefaceMax {
			t.Errorf("%d bytes, the limit is %d", n, prefaceMax)
		}
	}
}

func TestPrefaceErrors(t *testing.T) {
	for name, b := range map[string]string{
		"version":    "\x01\x01\x02n1\x02n2",
		"kind zero":  "\x02\x00\x02n1\x02n2",
		"kind above": "\x02\x07\x02n1\x02n2",
		"long name":  "\x02\x01\x41" + strings.Repeat("n", 65) + "\x02n2",
		"no name":    "\x02\x01\x00\x02n2",
		"bad name":   "\x02\x01\x02n1\x02*\n",
	} {
		if _, err := readPreface(strings.NewReader(b)); !errors.Is(err, errPreface) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readPreface(strings.NewReader("\x02\x01\x02n1\x02n")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short: %v", err)
	}
}

func FuzzPreface(f *testing.F) {
	f.Add(preface{"n1", "n2", Raft}.encode())
	f.Add(append(preface{"n1", "n2", Packet}.encode(), "payload"...))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, ours := bytes.CutPrefix(b, []byte(magic))
		if !ours {
			return
		}
		r := bytes.NewReader(rest)
		p, err := readPreface(r)
		if err != nil {
			return
		}
		if used := b[:len(b)-r.Len()]; !bytes.Equal(p.encode(), used) {
			t.Errorf("%q was read as %+v, which is written %q", used, p, p.encode())
		}
		if from, data, ok := openPacket(b, p.to); ok && (from != p.from || len(data) != r.Len()) {
			t.Errorf("the packet %q is from %q with %d bytes", b, from, len(data))
		}
	})
}
