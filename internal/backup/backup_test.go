package backup

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
)

func stream(t testing.TB, parts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, p := range parts {
		w.Part([]byte(p))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(in io.Reader) (parts []string, err error) {
	for r := NewReader(in); ; {
		part, err := r.Part()
		if err != nil {
			return parts, err
		}
		parts = append(parts, string(part))
	}
}

func TestStreamsLieOneBehindTheOther(t *testing.T) {
	in := bufio.NewReader(bytes.NewReader(append(stream(t, "a", "bc"), stream(t, "d")...)))
	for _, want := range []int{2, 1} {
		if parts, err := read(in); err != io.EOF || len(parts) != want {
			t.Errorf("%q, %v; want %d parts", parts, err, want)
		}
	}
}

// Whatever byte is flipped, and wherever it is cut, the end is never reached.
func TestDamageIsSeen(t *testing.T) {
	whole := stream(t, "header", "key", "value")
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, err := read(bytes.NewReader(b)); !errors.Is(err, ErrDamaged) {
				t.Errorf("byte %d, bit %d flipped: %v", i, bit, err)
			}
		}
		if _, err := read(bytes.NewReader(whole[:i])); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func TestAPartHasALimit(t *testing.T) {
	w := NewWriter(io.Discard)
	if w.Part(make([]byte, MaxPart+1)); w.Err() == nil || w.Close() == nil {
		t.Error("a part of a byte too many was written")
	}
}

func TestEmptyPartsAreParts(t *testing.T) {
	if parts, err := read(bytes.NewReader(stream(t, "", "a", ""))); err != io.EOF || len(parts) != 3 {
		t.Errorf("%q, %v", parts, err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(stream(f, "header", "key", "value"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := read(bytes.NewReader(b)); err == nil {
			t.Error("no end")
		}
	})
}
