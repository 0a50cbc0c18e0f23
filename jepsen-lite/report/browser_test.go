package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser opens a headless Chromium, or skips the test where there is none. A frame in
// a sandbox stays in the page's own process, so that its events are heard, too.
func browser(t *testing.T) context.Context {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome", "chrome"}
	at := slices.IndexFunc(names, func(name string) bool { _, err := exec.LookPath(name); return err == nil })
	if at < 0 {
		t.Skip("no Chromium on this machine (Debian's package is called chromium): the page is not opened")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(names[at]), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute),
		chromedp.Flag("disable-site-isolation-trials", true),
		chromedp.Flag("disable-features", "Translate,IsolateSandboxedIframes"))
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx
}

// tab is a page that is open, and what it did that a report must not do.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string
}

// open shows a file in a tab of its own.
func open(t *testing.T, ctx context.Context, path string, width int64, scheme string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	url := "file://" + path
	if err := chromedp.Listen(ctx, func(e any) { p.hear(e, url) }); err != nil {
		t.Fatal(err)
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800), chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return p
}

// hear notes requests, exceptions, dialogs, and what the console shows.
func (p *tab) hear(e any, own string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add := func(format string, args ...any) { p.said = append(p.said, fmt.Sprintf(format, args...)) }
	switch e := e.(type) {
	case *network.EventRequestWillBeSent:
		if e.Request.URL != own {
			add("request of %s", e.Request.URL)
		}
	case *runtime.EventConsoleAPICalled:
		add("console %s", e.Type)
	case *runtime.EventExceptionThrown:
		add("exception: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *log.EventEntryAdded:
		add("log %s: %s", e.Entry.Level, e.Entry.Text)
	case *page.EventJavascriptDialogOpening:
		add("dialog %s", e.Message)
		go func() { // it stops the page until somebody answers
			_, _ = chromedp.Call(p.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	}
}

func (p *tab) heard() []string {
	evaluate[bool](p, "true") // what came before its answer was heard
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said)
}

func evaluate[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// evilKey and evilSpace are words of clients that would be tags, or end an attribute.
const (
	evilKey   = `<script>alert(1)</script>`
	evilSpace = `"><img src=x onerror=alert(2)>`
)

// evilHistory is the stale read with such words everywhere.
func evilHistory(t *testing.T) string {
	quoted := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
	return strings.NewReplacer(`"x"`, quoted(evilKey), `"ks"`, quoted(evilSpace), `"alice"`, quoted(evilSpace), `"v1"`, quoted(evilKey+"1"), `"n1"`, quoted(evilSpace)).
		Replace(fixture(t, "stale-read"))
}

func TestPageInABrowser(t *testing.T) {
	ctx := browser(t)
	for name, text := range map[string]string{"good": fixture(t, "good"), "evil": evilHistory(t), "no history": "nothing\nat all\n"} {
		_, rep, dir := write(t, text)
		for _, width := range []int64{360, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				t.Run(fmt.Sprintf("%s at %d, %s", name, width, scheme), func(t *testing.T) {
					p := open(t, ctx, filepath.Join(dir, "index.html"), width, scheme)
					if said := p.heard(); len(said) > 0 {
						t.Errorf("the page is not silent: %q", said)
					}
					if over := evaluate[float64](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
						t.Errorf("it is %v px wider than the window", over)
					}
					if dark := evaluate[bool](p, `getComputedStyle(document.body).backgroundColor != "rgb(255, 255, 255)"`); dark != (scheme == "dark") {
						t.Errorf("dark is %t", dark)
					}
					if tags := evaluate[int](p, `document.querySelectorAll("script, img, link").length`); tags > 0 {
						t.Errorf("%d tags that no report has", tags)
					}
					said := evaluate[string](p, `document.body.innerText`)
					if !strings.Contains(said, string(rep.Verdict)) {
						t.Error("the verdict is not shown")
					}
					if name == "evil" {
						shows(t, p, said)
					}
				})
			}
		}
	}
}

// shows looks for the failure on the first screen, with the words as they were written.
func shows(t *testing.T, p *tab, said string) {
	for _, word := range []string{evilKey, evilSpace} {
		if !strings.Contains(said, word) {
			t.Errorf("%s is not shown as text", word)
		}
	}
	for _, id := range []string{"op-0-3", "op-0-5"} {
		bottom := evaluate[float64](p, fmt.Sprintf(`document.getElementById(%q).getBoundingClientRect().bottom`, id))
		if bottom <= 0 || bottom > 800 {
			t.Errorf("%s ends %v px below the top: it is not on the first screen", id, bottom)
		}
	}
	if n := evaluate[int](p, `document.querySelectorAll("svg path.witness").length`); n < 7 {
		t.Errorf("%d operations of the witness are drawn", n)
	}
}

// The test above would see what it looks for.
func TestBrowserHearsWhatAPageMustNotDo(t *testing.T) {
	ctx := browser(t)
	path := filepath.Join(t.TempDir(), "bad.html")
	text := `<!doctype html><body style="width: 2000px"><img src="http://127.0.0.1:9/x.png"><script>alert("a dialog")</script>
<iframe sandbox="allow-scripts" srcdoc="<script>console.error('from the frame'); nobody()</script>"></iframe>`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := open(t, ctx, path, 360, "light")
	said := strings.Join(p.heard(), "\n")
	for _, want := range []string{"request of http://127.0.0.1:9/x.png", "dialog a dialog", "console error", "exception: Uncaught"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q was not heard: %s", want, said)
		}
	}
	if over := evaluate[float64](p, `document.documentElement.scrollWidth - innerWidth`); over <= 0 {
		t.Errorf("it is %v px wider than the window", over)
	}
}
