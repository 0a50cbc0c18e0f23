// Package telemetry turns what the rooms tell of themselves into what operators
// read. The rooms neither log nor keep metrics; they call hooks or, where a library insists
// on its own logger, write to one that ends here. What they know of themselves is read when
// somebody asks for the metrics, so that only what is over when it is over, a request and
// how long it took, costs anything while nobody does.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// Raft is a logger for Raft that writes to log, with the attributes given. What
// Raft says at each heartbeat and request to a peer that does not answer is at
// debug level: that a peer is away is reported once, by its leader's observer.
func Raft(log *slog.Logger, attrs ...any) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Off, Output: io.Discard})
	logger.RegisterSink(sink{log.With(attrs...)})
	return logger
}

// sink passes each record of an hclog.Logger on.
type sink struct{ log *slog.Logger }

var levels = map[hclog.Level]slog.Level{
	hclog.Trace: slog.LevelDebug,
	hclog.Debug: slog.LevelDebug,
	hclog.Info:  slog.LevelDebug, // of interest to those who debug Raft
	hclog.Warn:  slog.LevelInfo,
	hclog.Error: slog.LevelWarn,
}

// repeated is what Raft says again and again of a peer that is away.
var repeated = map[string]bool{
	"failed to heartbeat to":                                   true,
	"failed to appendEntries to":                               true,
	"failed to contact":                                        true,
	"failed to decode incoming command":                        true,
	"failed to make requestVote RPC":                           true,
	"failed to pipeline appendEntries":                         true,
	"failed to accept connection":                              true,
	"unable to get address for server, using fallback address": true,
}

// Accept is called by the logger, on any goroutine.
func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	to, ok := levels[level]
	if !ok || repeated[msg] {
		to = slog.LevelDebug
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	switch msg = name + ": " + msg; to {
	case slog.LevelWarn:
		s.log.Warn(msg, args...)
	case slog.LevelInfo:
		s.log.Info(msg, args...)
	default:
		s.log.Debug(msg, args...)
	}
}
