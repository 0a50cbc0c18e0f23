package tidy

import (
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// The rule about sleeping is the only one here that needs thought, so it has a test.
func TestSleepIsFoundOutsideABubbleOnly(t *testing.T) {
	const text = `package p

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPlain(t *testing.T) { time.Sleep(1) } // 9: outside

func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { time.Sleep(1) })
	time.Sleep(1) // 13: after it
}

func TestNamed(t *testing.T) { synctest.Test(t, named) }
func named(t *testing.T)     { deeper() }
func deeper()                { time.Sleep(1) }

func TestShared(t *testing.T) { shared(); synctest.Test(t, func(t *testing.T) { shared() }) }
func shared()                 { time.Sleep(1) } // 21: one of its callers is outside

func TestWrapped(t *testing.T)                { wrapped(t, func() { time.Sleep(1) }) }
func wrapped(t *testing.T, f func())          { synctest.Test(t, func(*testing.T) { f() }) }
func TestNotWrapped(t *testing.T)             { other(t, func() { time.Sleep(1) }) } // 25: outside
func TestTwiceWrapped(t *testing.T)           { twice(t, func() { time.Sleep(1) }) }
func twice(t *testing.T, f func())            { wrapped(t, func() { f() }) }
func other(_ *testing.T, f func())            { f() }
`
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p/p_test.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	got := sleepsOutsideBubbles([]source{{"p/p_test.go", fset, file, importsOf(file)}})
	want := []string{"p/p_test.go:9", "p/p_test.go:13", "p/p_test.go:21", "p/p_test.go:25"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
