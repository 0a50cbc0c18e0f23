package scenario

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// tape is where a history is written: into memory and, if there is a report, into its
// directory as it happens, so that even a process that dies leaves it behind.
type tape struct {
	file *os.File // nil without a report

	mu   sync.Mutex
	text []byte // it only grows
}

func openTape(dir string) (*tape, error) {
	if dir == "" {
		return &tape{}, nil
	}
	err := os.MkdirAll(dir, 0o755)
	var file *os.File
	if err == nil {
		file, err = os.Create(filepath.Join(dir, "history.jsonl"))
	}
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Op: "report", Msg: "the report's directory cannot be written", Cause: err}
	}
	return &tape{file: file}, nil
}

func (t *tape) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, line...)
	if t.file == nil {
		return len(line), nil
	}
	return t.file.Write(line)
}

func (t *tape) Close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// read returns the history so far.
func (t *tape) read() (*history.History, error) {
	t.mu.Lock()
	text := t.text
	t.mu.Unlock()
	return history.Read(bytes.NewReader(text))
}
