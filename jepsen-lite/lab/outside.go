package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/store"
)

// How long what stands outside of the cluster may take unless it says otherwise, and how
// much of its answer is kept.
const (
	outsideTimeout = 30 * time.Second
	maxAnswer      = 1 << 20
)

// httpProvider makes a request. Its answer is status, headers and body, which is parsed
// if it is JSON.
type httpProvider struct{ document map[string]any }

func (p *httpProvider) do(ctx context.Context, r *run) (any, error) {
	d, err := r.filled(p.document)
	if err != nil {
		return nil, err
	}
	ctx, cancel, err := within(ctx, d["timeout"])
	if err != nil {
		return nil, err
	}
	defer cancel()
	request, err := newRequest(ctx, d)
	if err != nil {
		return nil, err
	}
	c := &http.Client{}
	if d["verify_tls"] == false {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // #nosec G402 -- the experiment says so
		defer transport.CloseIdleConnections()
		c.Transport = transport
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	return answerOf(response, d["expected_status"])
}

// newRequest puts the arguments into the query of a GET, and else into the body as JSON,
// or as a form if the headers say that it is one.
func newRequest(ctx context.Context, d map[string]any) (*http.Request, error) {
	method, _ := d["method"].(string)
	if method == "" {
		method = http.MethodGet
	}
	method = strings.ToUpper(method)
	headers := http.Header{}
	if given, ok := d["headers"].(map[string]any); ok {
		for name, v := range given {
			headers.Set(name, fmt.Sprint(v))
		}
	}
	address := fmt.Sprint(d["url"])
	var body io.Reader
	if arguments, ok := d["arguments"].(map[string]any); ok && len(arguments) > 0 {
		form := url.Values{}
		for name, v := range arguments {
			form.Set(name, fmt.Sprint(v))
		}
		switch {
		case method == http.MethodGet:
			join := "?"
			if strings.Contains(address, "?") {
				join = "&"
			}
			address += join + form.Encode()
		case strings.HasPrefix(headers.Get("Content-Type"), "application/x-www-form-urlencoded"):
			body = strings.NewReader(form.Encode())
		default:
			b, err := json.Marshal(arguments)
			if err != nil {
				return nil, err
			}
			body = bytes.NewReader(b)
			headers.Set("Content-Type", "application/json")
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err == nil {
		request.Header = headers
	}
	return request, err
}

func answerOf(response *http.Response, expected any) (any, error) {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	var body any = string(text)
	var parsed any
	if strings.Contains(response.Header.Get("Content-Type"), "json") && json.Unmarshal(text, &parsed) == nil {
		body = parsed
	}
	headers := map[string]any{}
	for name := range response.Header {
		headers[name] = response.Header.Get(name)
	}
	answer := map[string]any{"status": response.StatusCode, "headers": headers, "body": body}
	if expected != nil && !expects(expected, response.StatusCode) {
		return answer, fmt.Errorf("status %d, %v was expected", response.StatusCode, expected)
	}
	return answer, nil
}

func expects(expected any, status int) bool {
	if list, ok := expected.([]any); ok {
		return slices.Contains(list, any(status))
	}
	return expected == any(status)
}

// processProvider runs a program. Its answer is status, stdout and stderr.
type processProvider struct {
	name     string
	document map[string]any
}

func (p *processProvider) do(ctx context.Context, r *run) (any, error) {
	d, err := r.filled(p.document)
	if err != nil {
		return nil, err
	}
	ctx, cancel, err := within(ctx, d["timeout"])
	if err != nil {
		return nil, err
	}
	defer cancel()
	arguments, err := argumentsOf(d["arguments"])
	if err != nil {
		return nil, err
	}
	var stdout, stderr limited
	cmd := exec.CommandContext(ctx, fmt.Sprint(d["path"]), arguments...) // #nosec G204 -- running it is what the experiment is for
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, store.Expired(ctx, p.name)
	case err != nil && !errors.As(err, &exit):
		return nil, err
	}
	return map[string]any{"status": cmd.ProcessState.ExitCode(), "stdout": stdout.String(), "stderr": stderr.String()}, nil
}

// argumentsOf reads a list; a text, which is split as a shell would; or a mapping, each
// name followed by its value unless that is empty.
func argumentsOf(v any) ([]string, error) {
	var out []string
	switch v := v.(type) {
	case nil:
	case string:
		return split(v)
	case []any:
		for _, word := range v {
			out = append(out, fmt.Sprint(word))
		}
	case map[string]any:
		for _, name := range sortedNames(v) {
			out = append(out, name)
			if value := v[name]; value != nil && value != "" {
				out = append(out, fmt.Sprint(value))
			}
		}
	default:
		return nil, fmt.Errorf("arguments %v are neither a text, a list nor a mapping", v)
	}
	return out, nil
}

// split splits at spaces that stand in no quotes.
func split(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	open := false
	for _, c := range text {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, open = c, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if open {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	if quote != 0 {
		return nil, fmt.Errorf("the arguments have an open %c", quote)
	}
	return words, nil
}

// within bounds what a provider does: timeout is seconds, or, of a request, a pair whose
// last is how long the answer may take.
func within(ctx context.Context, timeout any) (context.Context, context.CancelFunc, error) {
	d := outsideTimeout
	if pair, ok := timeout.([]any); ok && len(pair) == 2 {
		timeout = pair[1]
	}
	if timeout != nil {
		var err error
		if d, err = parseTime(timeout); err != nil || d <= 0 || d > maxPause {
			return nil, nil, fmt.Errorf("timeout %v is no time above 0 and up to %v", timeout, maxPause)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, nil
}

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if room := maxAnswer - l.Len(); room > 0 {
		l.Buffer.Write(b[:min(len(b), room)])
	}
	return len(b), nil
}
