package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// Run is what a run knows of itself beside its history. The zero Run is of a history
// that somebody else recorded.
type Run struct {
	Title   string    // what was run, in a few words
	Command []string  // of kvctl, that runs the like again
	Began   time.Time // when t_ns was zero; the zero Time if nobody knows
	Status  Status    // Completed if empty
}

// Status says whether a run came to its end. It is no verdict. The words are those of
// the Chaos Toolkit's journal.
type Status string

const (
	Completed Status = "completed"
	Failed    Status = "failed"  // it broke, or got stuck
	Aborted   Status = "aborted" // somebody stopped it
)

// Begin writes the report of a run that has not ended. A process that dies leaves it
// behind in the place of what an earlier run had said.
func Begin(dir string, run Run) error {
	run.Status = Failed
	rep := check.Reject(errors.New("the run has not ended: it goes on, or its process died; kvctl check replay history.jsonl judges what was recorded"))
	rep.Checkers[0].Name, rep.Checkers[0].Claim = "run", "the run came to its end"
	_, err := Write(dir, nil, rep, run)
	return err
}

// Write puts index.html, results.json, junit.xml, journal.json and, unless there is
// one, history.jsonl into dir and returns the path of the page. h may be nil. Each
// file appears whole or not at all, the results first, and one that cannot be made
// keeps no other from being written: the error then says which.
func Write(dir string, h *history.History, rep check.Report, run Run) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	if h == nil {
		h = &history.History{}
	}
	path = filepath.Join(dir, "index.html")
	rep.Path = path
	var all error
	for _, f := range []struct {
		name string
		make func() ([]byte, error)
	}{
		{"results.json", func() ([]byte, error) { return indented(rep) }},
		{"junit.xml", func() ([]byte, error) { return junit(h, rep, run) }},
		{"journal.json", func() ([]byte, error) { return indented(newJournal(h, rep, run)) }},
		{"index.html", func() ([]byte, error) { return draw(h, rep, run) }},
	} {
		all = errors.Join(all, file(dir, f.name, f.make))
	}
	return path, errors.Join(all, keep(dir, h))
}

// file makes one file of the report. A panic in making it is an error like any other.
func file(dir, name string, content func() ([]byte, error)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("report: %s: making it crashed: %v", name, p)
		}
	}()
	data, err := content()
	if err != nil {
		return fmt.Errorf("report: %s: %w", name, err)
	}
	return put(dir, name, data)
}

func indented(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// keep writes the history if the run did not record it there itself.
func keep(dir string, h *history.History) error {
	_, err := os.Stat(filepath.Join(dir, "history.jsonl"))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var out bytes.Buffer
	if _, err := h.WriteTo(&out); err != nil {
		return err
	}
	return put(dir, "history.jsonl", out.Bytes())
}

// put writes a file beside its name and moves it there.
func put(dir, name string, data []byte) error {
	tmp, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("report: %s: %w", name, errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

func draw(h *history.History, rep check.Report, run Run) ([]byte, error) {
	var out bytes.Buffer
	err := pageTemplate.Execute(&out, newView(h, rep, run))
	return out.Bytes(), err
}
