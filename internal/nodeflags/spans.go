package nodeflags

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/dialkv/dialkv/store"
)

const (
	// spansEvery is how long spans are gathered before they are written or sent.
	spansEvery = time.Second
	// spansGoodbye bounds the last of that, when the node has ended.
	spansGoodbye = 2 * time.Second
	// maxSpanFile is the size at which a file of spans is full.
	maxSpanFile = 256 << 20
)

// openSpans returns what takes a node's spans to a file, a JSON object a line, or to a
// collector, if to is a URL: OTLP over HTTP. It is nil if to is "". The caller shuts it
// down.
func openSpans(ctx context.Context, to string, log *slog.Logger) (sdktrace.SpanProcessor, error) {
	var out sdktrace.SpanExporter
	var err error
	switch {
	case to == "":
		return nil, nil
	case strings.Contains(to, "://"):
		out, err = collector(ctx, to)
	default:
		out, err = spanFile(to)
	}
	if err != nil {
		return nil, err
	}
	return sdktrace.NewBatchSpanProcessor(&reported{SpanExporter: out, to: to, log: log}, sdktrace.WithBatchTimeout(spansEvery)), nil
}

func collector(ctx context.Context, to string) (sdktrace.SpanExporter, error) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--trace-to %.80q is no http or https URL", to), Cause: err, Try: "--trace-to http://127.0.0.1:4318, or a file"}
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces" // where OTLP has it
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
}

// spanFile appends to a file, which several nodes of a machine may share: a span is one
// write.
func spanFile(name string) (sdktrace.SpanExporter, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: "--trace-to cannot be written", Cause: err, Try: "a file in a directory that is there, or http://HOST:4318"}
	}
	out, err := stdouttrace.New(stdouttrace.WithWriter(limited{f}))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return fileExporter{out, f}, nil
}

type fileExporter struct {
	*stdouttrace.Exporter
	file *os.File
}

// Shutdown closes the file.
func (e fileExporter) Shutdown(ctx context.Context) error {
	return errors.Join(e.Exporter.Shutdown(ctx), e.file.Close())
}

// limited is a file that takes nothing more when it is full.
type limited struct{ *os.File }

func (l limited) Write(b []byte) (int, error) {
	info, err := l.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size()+int64(len(b)) > maxSpanFile {
		return 0, fmt.Errorf("%s is full: it may have %d bytes", l.Name(), maxSpanFile)
	}
	return l.File.Write(b)
}

// reported logs when spans begin to be lost, and when they are taken again: once each, as
// spans come all the time. Nothing waits for them, and nothing else ends with them.
type reported struct {
	sdktrace.SpanExporter
	to   string
	log  *slog.Logger
	lost atomic.Bool
}

// ExportSpans never fails.
func (r *reported) ExportSpans(ctx context.Context, list []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, list)
	switch {
	case err != nil && !r.lost.Swap(true):
		r.log.Warn("spans are lost", "to", r.to, "error", err)
	case err == nil && r.lost.Swap(false):
		r.log.Info("spans are taken again", "to", r.to)
	}
	return nil
}
