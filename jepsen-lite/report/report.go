package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// Write puts index.html, results.json and, unless there is one, history.jsonl into
// dir and returns the path of the page. h may be nil. Each file appears whole or not
// at all, and the results are written first: a page that cannot be drawn does not
// hide a verdict.
func Write(dir string, h *history.History, rep check.Report) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	if h == nil {
		h = &history.History{}
	}
	path = filepath.Join(dir, "index.html")
	rep.Path = path
	results, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return "", fmt.Errorf("report: results: %w", err)
	}
	if err := put(dir, "results.json", append(results, '\n')); err != nil {
		return "", err
	}
	if err := keep(dir, h); err != nil {
		return "", err
	}
	html, err := draw(h, rep)
	if err != nil {
		return "", fmt.Errorf("report: page: %w", err)
	}
	return path, put(dir, "index.html", html)
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

// draw renders the page. A panic while drawing is an error like any other.
func draw(h *history.History, rep check.Report) (html []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("crashed: %v", p)
		}
	}()
	var out bytes.Buffer
	err = page.Execute(&out, newView(h, rep))
	return out.Bytes(), err
}
