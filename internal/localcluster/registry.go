package localcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// Registry is where the clusters of real processes on this machine are written
// down, a JSON file for each, so that one kvctl finds what another started. It is a
// note, not a truth: whether a process is alive is always asked of the system.
type Registry struct {
	dir string
}

// Entry is what is written down of a cluster.
type Entry struct {
	Name    string      `json:"name"`
	Dir     string      `json:"dir"`     // holds a directory for each node
	Founded bool        `json:"founded"` // all nodes were ready once
	Nodes   []Process   `json:"nodes"`
	Removed []string    `json:"removed,omitempty"` // names of nodes that were taken out; none is used again
	Faults  []link.Rule `json:"faults,omitempty"`  // the table last set
	Bare    bool        `json:"bare,omitempty"`    // its nodes take no fault rules
}

// Process is one node of a cluster and the process that last ran it.
type Process struct {
	ID      string `json:"id"`
	Listen  string `json:"listen"`
	Gossip  string `json:"gossip"`
	Admin   string `json:"admin"`
	PID     int    `json:"pid"`
	Started string `json:"started"` // tells the process from a later one with its pid
}

// ids names the nodes, in order.
func (e Entry) ids() []string {
	ids := make([]string, len(e.Nodes))
	for i, p := range e.Nodes {
		ids[i] = p.ID
	}
	return ids
}

// node returns the entry's own record of a node, or Invalid.
func (e *Entry) node(id string) (*Process, error) {
	for i := range e.Nodes {
		if e.Nodes[i].ID == id {
			return &e.Nodes[i], nil
		}
	}
	return nil, &store.Error{
		Code: store.Invalid,
		Msg:  fmt.Sprintf("cluster %s has no node %q", e.Name, id),
		Try:  "one of " + strings.Join(e.ids(), ", "),
	}
}

// OpenRegistry returns the registry of this user: $KV_HOME, or dialkv in
// $XDG_STATE_HOME, or ~/.local/state/dialkv. getenv is os.Getenv.
func OpenRegistry(getenv func(string) string) (*Registry, error) {
	dir := getenv("KV_HOME")
	if dir == "" {
		state := getenv("XDG_STATE_HOME")
		if state == "" {
			home := getenv("HOME")
			if home == "" {
				return nil, &store.Error{Code: store.Invalid, Msg: "there is no home directory to keep clusters in", Try: "KV_HOME=DIR"}
			}
			state = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(state, "dialkv")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("localcluster: registry: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "clusters"), 0o700); err != nil {
		return nil, fmt.Errorf("localcluster: registry: %w", err)
	}
	return &Registry{dir: dir}, nil
}

// DataDir is where a cluster keeps its data if nobody says otherwise.
func (r *Registry) DataDir(name string) string { return filepath.Join(r.dir, "data", name) }

func (r *Registry) file(name string) string {
	return filepath.Join(r.dir, "clusters", name+".json")
}

// Entry returns what is written down of a cluster, or NotFound.
func (r *Registry) Entry(name string) (Entry, error) {
	if err := store.CheckName("cluster", name); err != nil {
		return Entry{}, err
	}
	e, err := readEntry(r.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, r.unknown(name)
	}
	return e, err
}

func (r *Registry) unknown(name string) error {
	e := &store.Error{Code: store.NotFound, Msg: fmt.Sprintf("there is no cluster %q", name), Try: "kvctl cluster start --name " + name}
	if names, err := r.Names(); err == nil && len(names) > 0 {
		e.Try = "kvctl use " + strings.Join(names, ", or ")
	}
	return e
}

func readEntry(path string) (Entry, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Entry{}, fmt.Errorf("localcluster: %w", err)
	}
	var e Entry
	if err := json.Unmarshal(b, &e); err != nil {
		return Entry{}, &store.Error{Code: store.Corrupt, Msg: path + " cannot be read", Cause: err, Try: "move it away, and kvctl cluster start --dir DIR"}
	}
	return e, nil
}

// Names lists the clusters, in order.
func (r *Registry) Names() ([]string, error) {
	files, err := filepath.Glob(r.file("*"))
	if err != nil {
		return nil, fmt.Errorf("localcluster: registry: %w", err)
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(filepath.Base(file), ".json")
	}
	slices.Sort(names)
	return names, nil
}

// Current returns the cluster that commands mean when they name none, or "".
func (r *Registry) Current() string {
	b, err := os.ReadFile(filepath.Join(r.dir, "current"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Use makes a cluster the current one.
func (r *Registry) Use(name string) error {
	if _, err := r.Entry(name); err != nil {
		return err
	}
	return replaceFile(filepath.Join(r.dir, "current"), []byte(name+"\n"))
}

// update changes an entry while no other process does. A new one has only its name.
// With an error from change nothing is written.
func (r *Registry) update(name string, change func(*Entry) error) error {
	unlock, err := lockFile(filepath.Join(r.dir, "lock"))
	if err != nil {
		return fmt.Errorf("localcluster: registry: %w", err)
	}
	defer unlock()
	e, err := readEntry(r.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		e, err = Entry{Name: name}, nil
	}
	if err != nil {
		return err
	}
	if err := change(&e); err != nil {
		return err
	}
	return writeEntry(r.file(name), e)
}

func writeEntry(path string, e Entry) error {
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("localcluster: %w", err)
	}
	return replaceFile(path, append(b, '\n'))
}

// forget removes an entry; the data stays.
func (r *Registry) forget(name string) error {
	if r.Current() == name {
		if err := os.Remove(filepath.Join(r.dir, "current")); err != nil {
			return fmt.Errorf("localcluster: registry: %w", err)
		}
	}
	if err := os.Remove(r.file(name)); err != nil {
		return fmt.Errorf("localcluster: registry: %w", err)
	}
	return nil
}

// replaceFile writes a file beside its name and moves it there, so that a reader
// sees the old or the new one.
func replaceFile(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("localcluster: %w", err)
	}
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("localcluster: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}
