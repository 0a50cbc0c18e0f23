package page_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// evil would be a tag, and end an attribute, where it is not text.
const evil = `"><img src=x onerror=alert(1)><script>alert(2)</script>`

func TestValuesAreShownAsText(t *testing.T) {
	ctx := browser(t)
	w := demo(t)
	large := strings.Repeat("m", 1<<20)
	c, err := w.Client(t.Context(), "")
	must(t, err)
	defer c.Close()
	putting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for key, value := range map[string]string{evil: evil, "large": large, "lines": "a\n\tb \u202e\x00", "binary": "\xff\xfe"} {
		for err := error(store.Unknown); err != nil; { // a busy machine elects leaders
			must(t, putting.Err())
			_, err = c.Keyspace("orders").Put(putting, key, []byte(value), client.WithTimeout(5*time.Second))
		}
	}
	p := open(t, ctx, w, 360, "light")
	p.choose("#keyspace", "orders")
	p.fill("#key", evil)
	p.press("#get", "\r")
	p.says("#answer .value", evil)
	p.says("#replicas .value", evil)
	p.says("#log", "orders/"+evil[:30])
	p.fill("#key", "binary")
	p.press("#get", "\r")
	p.says("#answer", "//4= (base64)")
	p.fill("#key", "lines")
	p.press("#get", "\r")
	p.says("#answer .value", "a\n\tb")
	p.fill("#key", "large")
	p.press("#get", "\r")
	p.says("#answer", "the first part of 1048576 bytes")
	p.fits()
	p.accessible()
	if shown := evaluate[int](p, `document.body.innerHTML.length`); shown > 500_000 {
		t.Errorf("the page has grown to %d characters", shown)
	}
	if tags := evaluate[int](p, `document.querySelectorAll("img, body script").length`); tags > 0 {
		t.Errorf("%d tags that the page does not have", tags)
	}
	p.silent()
}

func TestTwoBrowsersSeeTheSame(t *testing.T) {
	ctx := browser(t)
	w := demo(t)
	one, two := open(t, ctx, w, 1280, "light"), open(t, ctx, w, 360, "dark")
	one.press(`#nodes button[aria-label="Isolate n5"]`, "\r")
	two.says("#net", "✂ n5 | n1,n2,n3,n4")
	two.choose("#keyspace", "carts")
	two.choose("#at", "n5")
	two.press("#put", "\r")
	one.says("#log", "put carts/k = v1")
	two.press("#heal", "\r")
	one.says("#net", "every link is whole")
	one.silent()
	two.silent()
}

func TestPageThatIsLeftOpenOverARestart(t *testing.T) {
	ctx := browser(t)
	w := demo(t)
	p := open(t, ctx, w, 1280, "light")
	p.press(`#nodes button[aria-label="Isolate n1"]`, "\r")
	p.says("#log", "links: n1 | n2,n3,n4,n5")
	w.stop()
	p.says("#line", "does not answer")
	w.gone(t)
	w.serve(t, w.at)
	p.until(`document.body.dataset.live === "yes"`)
	p.says("#net", "n1 | n2,n3,n4,n5")
	p.choose("#keyspace", "carts")
	p.press("#put", "\r")
	p.says("#answer", "put carts/k: ok")
	p.until(`document.querySelector("#log").textContent.includes("put carts/k")`)
}

// gone says that nobody serves the page now.
func (w *world) gone(t *testing.T) {
	t.Helper()
	if conn, err := net.Dial("tcp", w.at); err == nil {
		_ = conn.Close()
		t.Error("the page is still served")
	}
}

func TestAnotherSitesPageCannotCut(t *testing.T) {
	ctx := browser(t)
	w := demo(t)
	site := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "text/html")
		fmt.Fprint(out, `<!doctype html><title>another site</title>`)
	}))
	defer site.Close()
	ctx, cancel := chromedp.NewContext(ctx)
	defer cancel()
	p := &tab{t: t, ctx: ctx}
	must(t, chromedp.Do(ctx, chromedp.Navigate(site.URL)))
	for _, how := range []string{
		`{method: "POST", mode: "no-cors", body: JSON.stringify(cut)}`,
		`{method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body: JSON.stringify(cut)}`,
		`{method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(cut)}`,
	} {
		said := evaluate[string](p, fmt.Sprintf(`(() => { const cut = {do: "isolate", what: "n1"}; return fetch("http://%s/api/links", %s).then((r) => r.type + r.status, (e) => "refused"); })()`, w.at, how))
		if said != "refused" && said != "opaque0" {
			t.Errorf("%s is answered %s", how, said)
		}
	}
	if said := evaluate[string](p, fmt.Sprintf(`fetch("http://%s/api/events").then((r) => r.text(), () => "refused")`, w.at)); said != "refused" {
		t.Errorf("another site reads the events: %.100s", said)
	}
	next, _ := w.stream(t, "")
	if _, state := await(t, next, "state", ""); !strings.Contains(state, `"net":""`) {
		t.Errorf("another site has cut: %s", state)
	}
}

func TestALineThatIsDrawnCuts(t *testing.T) {
	ctx := browser(t)
	w := demo(t)
	p := open(t, ctx, w, 1280, "light")
	evaluate[bool](p, `(document.querySelector("#map").scrollIntoView({block: "center"}), true)`)
	at := func(node string) (x, y float64) {
		box := evaluate[[]float64](p, fmt.Sprintf(`(() => { const b = document.querySelector('#map [data-key="%s"] circle').getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()`, node))
		return box[0], box[1]
	}
	x1, y1 := at("n5")
	x2, y2 := at("n2")
	y := (y1+y2)/2 - 44 // between n1 and all others
	must(t, chromedp.Do(p.ctx,
		chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, x1-20, y, chromedp.ButtonType(input.MouseButtonLeft)),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, (x1+x2)/2-60, y, chromedp.ButtonType(input.MouseButtonLeft)),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, x2+20, y, chromedp.ButtonType(input.MouseButtonLeft)),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, x2+20, y, chromedp.ButtonType(input.MouseButtonLeft))))
	p.says("#net", "✂ n1 | n2,n3,n4,n5")
	p.silent()
}

func TestThemeIsKept(t *testing.T) {
	ctx := browser(t)
	w := demo(t)
	p := open(t, ctx, w, 1280, "light")
	dark := `getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)"`
	p.choose("#theme", "dark")
	p.until(dark)
	p.accessible()
	must(t, chromedp.Do(p.ctx, chromedp.Reload()))
	p.until(dark)
	p.silent()
}

func TestTrafficIsJudgedAndMeasured(t *testing.T) {
	ctx := browser(t)
	w := demo(t)
	p := open(t, ctx, w, 1280, "light")
	p.choose("#keyspace", "orders")
	p.press("#measure-go", "\r")
	p.says("#measure-state", "measuring orders")
	p.until(`document.querySelectorAll("#charts tbody tr").length >= 8`)
	p.until(`/linearizable/.test(document.querySelector("#checkers").textContent)`)
	said := evaluate[string](p, `document.querySelector("#verdict").textContent + document.querySelector("#checkers").textContent`)
	if strings.Contains(said, "✕") || !strings.Contains(said, "✓ linearizable") {
		t.Errorf("the checkers say: %s", said)
	}
	p.accessible()
	p.fits()
	p.picture("measured", "#measure")
	p.silent()
}
