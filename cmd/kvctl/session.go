package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// maxContexts is of how many keys a session file keeps the context.
const maxContexts = 100

// sessionFile is a session that outlives a command: its token and, for the next
// write of each, the contexts of the keys read last.
type sessionFile struct {
	path     string
	Token    string        `json:"token"`
	Contexts []seenContext `json:"contexts,omitempty"` // the latest last
}

type seenContext struct {
	Key     string `json:"key"` // KEYSPACE/KEY
	Context string `json:"context"`
}

// openSession reads the file; one that is not there is a session that has seen nothing.
func openSession(path string) (*sessionFile, error) {
	s := &sessionFile{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: "the session cannot be read", Cause: err, Try: "--session with another file"}
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: path + " is not a session file", Cause: err, Try: "--session with another file"}
	}
	return s, nil
}

// context is what the session has read of the key, or nothing.
func (s *sessionFile) context(key string) string {
	i := slices.IndexFunc(s.Contexts, func(c seenContext) bool { return c.Key == key })
	if i < 0 {
		return ""
	}
	return s.Contexts[i].Context
}

func (s *sessionFile) keep(key string, context []byte) {
	if len(context) == 0 {
		return
	}
	s.Contexts = slices.DeleteFunc(s.Contexts, func(c seenContext) bool { return c.Key == key })
	s.Contexts = append(s.Contexts, seenContext{key, encodeContext(context)})
	s.Contexts = s.Contexts[max(0, len(s.Contexts)-maxContexts):]
}

// writable refuses a place where save would fail, before anything is done that the
// session would then not know of.
func (s *sessionFile) writable() error {
	if err := writable(s.path); err != nil {
		return &store.Error{Code: store.Invalid, Msg: "the session could not be saved to " + s.path, Cause: err, Try: "--session with a file in a directory that you may write to"}
	}
	return nil
}

// save writes the session back, beside the file first: a command that is interrupted
// leaves the old one.
func (s *sessionFile) save(session *client.Session) error {
	s.Token = session.Token()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if err := replaceFile(s.path, append(b, '\n')); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}

func encodeContext(context []byte) string { return base64.RawURLEncoding.EncodeToString(context) }

func decodeContext(text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--context %.40q is not one", text), Cause: err, Try: "the context that kvctl get -o json printed"}
	}
	return b, nil
}
