package page_test

import (
	"context"
	_ "embed"
	"flag"
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
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var pictures = flag.Bool("pictures", false, "take the pictures of docs/how-to again")

// browser opens a headless Chromium, or skips the test where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("short: the page is not opened")
	}
	names := []string{"chromium", "chromium-browser", "google-chrome", "chrome"}
	at := slices.IndexFunc(names, func(name string) bool { _, err := exec.LookPath(name); return err == nil })
	if at < 0 {
		t.Skip("no Chromium on this machine (Debian's package is called chromium): the page is not opened")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(names[at]), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute))
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

// tab is a page that is open, and what it did that it must not do: a request that leaves
// its server, an exception, a word in the console.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string
}

func open(t *testing.T, ctx context.Context, w *world, width int64, scheme string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	must(t, chromedp.Listen(ctx, func(e any) { p.hear(e, "http://"+w.at+"/") }))
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media)
	must(t, err)
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate("http://"+w.at+"/")))
	p.until(`document.body.dataset.live === "yes" && document.querySelectorAll("#nodes tr").length === 5`)
	return p
}

func (p *tab) hear(e any, own string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add := func(format string, args ...any) { p.said = append(p.said, fmt.Sprintf(format, args...)) }
	switch e := e.(type) {
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, own) && !strings.HasPrefix(e.Request.URL, "data:") {
			add("request of %s", e.Request.URL)
		}
	case *runtime.EventConsoleAPICalled:
		add("console %s", e.Type)
	case *runtime.EventExceptionThrown:
		add("exception: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *cdplog.EventEntryAdded:
		add("log %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	}
}

// silent fails the test if the page did what it must not do.
func (p *tab) silent() {
	p.t.Helper()
	evaluate[bool](p, "true") // what came before its answer was heard
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.said) > 0 {
		p.t.Errorf("the page is not silent: %q", p.said)
	}
}

func evaluate[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until the expression holds in the page.
func (p *tab) until(condition string) {
	p.t.Helper()
	const patience = 60_000
	held := evaluate[bool](p, fmt.Sprintf(`new Promise((done) => {
		const end = Date.now() + %d;
		const look = () => { if (%s) done(true); else if (Date.now() > end) done(false); else setTimeout(look, 50); };
		look();
	})`, patience, condition))
	if !held {
		p.t.Fatalf("never came: %s\nthe page says: %s", condition, evaluate[string](p, `document.body.innerText`))
	}
}

// says waits until an element has a text.
func (p *tab) says(selector, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`document.querySelector(%q)?.textContent.includes(%q)`, selector, text))
}

// keys types; press moves the focus to an element with Tab alone, and presses a key on it.
func (p *tab) keys(text string) {
	p.t.Helper()
	must(p.t, chromedp.Do(p.ctx, chromedp.KeyEvent(text)))
}

// focus goes to an element with Tab alone.
func (p *tab) focus(selector string) {
	p.t.Helper()
	here := fmt.Sprintf(`document.activeElement?.matches(%q) ?? false`, selector)
	for range 200 {
		if evaluate[bool](p, here) {
			if !evaluate[bool](p, `getComputedStyle(document.activeElement).outlineStyle !== "none" || document.activeElement.closest("svg") !== null`) {
				p.t.Errorf("%s has the focus, and does not show it", selector)
			}
			return
		}
		p.keys("\t")
	}
	p.t.Fatalf("Tab never comes to %s\nthe page says: %s", selector, evaluate[string](p, `document.body.innerText`))
}

func (p *tab) press(selector, key string) {
	p.t.Helper()
	p.focus(selector)
	p.keys(key)
}

// fill puts a text in the place of what a field holds.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.focus(selector) // which selects what is there
	p.keys(text)
}

// choose takes an option by typing its name.
func (p *tab) choose(selector, value string) {
	p.t.Helper()
	p.press(selector, value)
	p.until(fmt.Sprintf(`document.querySelector(%q).value === %q`, selector, value))
}

//go:embed testdata/axe.min.js
var axe string

// accessible has axe-core look at the page.
func (p *tab) accessible() {
	p.t.Helper()
	found := evaluate[string](p, axe+`;
axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.filter((v) => v.impact === "serious" || v.impact === "critical")
	.map((v) => v.id + ": " + v.help + "\n" + v.nodes.slice(0, 3).map((n) => "  " + n.html.slice(0, 200) + " – " + n.failureSummary).join("\n")).join("\n"))`)
	if found != "" {
		p.t.Errorf("axe-core finds:\n%s", found)
	}
}

// fits fails the test if the page is wider than its window.
func (p *tab) fits() {
	p.t.Helper()
	if over := evaluate[float64](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
		p.t.Errorf("the page is %v px wider than the window: %s", over, evaluate[string](p, `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll")).map((e) => e.tagName + "#" + e.id).slice(0, 5).join(" ")`))
	}
}

// picture keeps what the page looks like from an element on, with -pictures.
func (p *tab) picture(name, from string) {
	p.t.Helper()
	if !*pictures {
		return
	}
	evaluate[bool](p, fmt.Sprintf(`(scrollTo(0, document.querySelector(%q).getBoundingClientRect().top + scrollY - 70), true)`, from))
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	must(p.t, err)
	dir := filepath.Join("..", "..", "docs", "how-to", "pictures")
	must(p.t, os.MkdirAll(dir, 0o755))
	must(p.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

func TestCutRefusedHealedResolved(t *testing.T) {
	ctx := browser(t)
	for _, width := range []int64{1280, 360} {
		for _, scheme := range []string{"light", "dark"} {
			t.Run(fmt.Sprintf("at %d, %s", width, scheme), func(t *testing.T) {
				story(t, ctx, width, scheme)
			})
		}
	}
}

// story is a partition from beginning to end, by keyboard alone.
func story(t *testing.T, ctx context.Context, width int64, scheme string) {
	first := width == 1280 && scheme == "light"
	w := demo(t)
	p := open(t, ctx, w, width, scheme)
	p.says("#availability", "available everywhere")
	p.accessible()
	p.press(`#partition button[type="submit"]`, "\r")
	p.says("#net", "✂ n1,n2 | n3,n4,n5")
	p.says("#availability", "available on n3,n4,n5")

	p.choose("#keyspace", "orders")
	p.choose("#at", "n1")
	p.press("#put", "\r")
	p.until(`/✕|◇/.test(document.querySelector("#answer .outcome")?.textContent ?? "")`)
	p.choose("#at", "n4")
	p.press("#put", "\r")
	p.until(`/● put orders.k: ok/.test(document.querySelector("#answer .outcome")?.textContent ?? "")`)

	p.choose("#keyspace", "carts")
	p.fill("#value", "milk")
	p.focus("#blind")
	p.keys(" ")
	p.press("#put", "\r")
	p.until(`/● put carts.k: ok/.test(document.querySelector("#answer .outcome")?.textContent ?? "")`)
	p.press("#session", "\r")
	p.choose("#at", "n1")
	p.fill("#value", "bread")
	p.press("#put", "\r")
	p.until(`/● put carts.k: ok/.test(document.querySelector("#answer .outcome")?.textContent ?? "")`)
	p.says("#availability", "1 key differs")
	p.accessible()
	p.says("#availability", "available on n3,n4,n5")
	if first {
		p.picture("cut", "#main")
	}

	p.press("#heal", "\r")
	p.says("#net", "every link is whole")
	p.says("#availability", "1 conflict")
	p.says("#resolve", "Conflict: 2 values")
	p.accessible()
	p.fits()
	if first {
		p.picture("conflict", "#main")
	}
	p.press("#merge", "\r")
	p.until(`document.querySelector("#resolve").textContent === "" && [...document.querySelectorAll("#replicas tr")].every((r) => r.querySelectorAll(".value").length === 1)`)
	p.says("#log", "put carts/k = ")
	if dark := evaluate[bool](p, `getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)"`); dark != (scheme == "dark") {
		t.Errorf("dark is %t", dark)
	}
	p.silent()
}
