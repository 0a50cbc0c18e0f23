package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// What the terminal is told: xterm's control sequences, which all others know.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // a screen of our own, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	topLeft     = "\x1b[H"
	restOfLine  = "\x1b[K"
	restBelow   = "\x1b[J"
)

// screen shows frames on a terminal, and takes keys. One goroutine, that of run, owns all
// of it.
type screen struct {
	view    topView
	look    func(context.Context) (sight, error)
	keys    io.Reader
	out     io.Writer
	size    func() (width, height int)
	resized <-chan os.Signal
	colour  func(code, s string) string

	before, now sight
	paused      bool
}

// screen is the terminal this runs on, if it does and a view that goes on is wanted.
func (a *app) screen(v topView, w *watched) (*screen, bool) {
	in, out := a.in, a.out
	if v.once || a.output == "json" || !terminal(in) || !terminal(out) {
		return nil, false
	}
	fd := int(out.(*os.File).Fd()) // a terminal is a file
	return &screen{
		view: v, look: w.look, keys: in, out: out, colour: a.colour,
		size: func() (int, int) {
			width, height, err := term.GetSize(fd)
			if err != nil {
				return 80, 24 // what terminals are that do not say
			}
			return width, height
		},
	}, true
}

// run takes the terminal over until a key or ctx ends it.
func (s *screen) run(ctx context.Context, first sight) error {
	if in, ok := s.keys.(*os.File); ok {
		state, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(in.Fd()), state) }() // nobody to tell
	}
	resized, stop := resizes()
	defer stop()
	s.resized = resized
	return s.show(ctx, first)
}

// looked is what became of a look.
type looked struct {
	sight
	err error
}

// show draws, and waits for what changes: a key, the size, the next look.
func (s *screen) show(ctx context.Context, first sight) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fmt.Fprint(s.out, enterScreen)
	defer fmt.Fprint(s.out, leaveScreen)
	s.now = first
	keys, looks := s.read(ctx), make(chan looked, 1)
	next := time.NewTimer(s.view.interval)
	defer next.Stop()
	for {
		s.draw()
		select {
		case key := <-keys:
			if s.press(key) {
				return nil
			}
		case <-s.resized:
		case <-next.C:
			if s.paused {
				next.Reset(s.view.interval)
				continue
			}
			go func() { // a node that hangs must not hold up the keys
				l, err := s.look(ctx)
				looks <- looked{l, err}
			}()
		case l := <-looks:
			if l.err != nil {
				return l.err
			}
			if !s.paused {
				s.before, s.now = s.now, l.sight
			}
			next.Reset(max(time.Millisecond, s.view.interval-time.Since(l.at)))
		case <-ctx.Done():
			return nil
		}
	}
}

// read gives out what is typed. Who waits for a key cannot be called off: it ends with the
// program.
func (s *screen) read(ctx context.Context) <-chan byte {
	keys := make(chan byte)
	go func() {
		b := make([]byte, 1)
		for {
			if _, err := io.ReadFull(s.keys, b); err != nil {
				return
			}
			select {
			case keys <- b[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys
}

const (
	ctrlC = 3
	ctrlD = 4
)

// press does what a key is for, and reports whether that is the end.
func (s *screen) press(key byte) (end bool) {
	switch key {
	case 'q', 'Q', ctrlC, ctrlD:
		return true
	case 's', 'S':
		s.view.order = topOrders[(slices.Index(topOrders, s.view.order)+1)%len(topOrders)]
	case 'p', 'P', ' ':
		s.paused = !s.paused
	}
	return false
}

// draw writes the frame over the one before, and only what the screen has room for.
func (s *screen) draw() {
	f := compare(s.before, s.now)
	f.sort(s.view.order)
	width, height := s.size()
	lines := fit(f.lines(), height-1)
	var b strings.Builder
	b.WriteString(topLeft)
	for _, l := range lines {
		b.WriteString(s.colour(l.colour, clip(l.text, width)) + restOfLine + "\r\n")
	}
	b.WriteString(s.colour(bold, clip(s.footer(), width)) + restOfLine + restBelow)
	fmt.Fprint(s.out, b.String())
}

func (s *screen) footer() string {
	state := "every " + s.view.interval.String()
	if s.paused {
		state = "paused"
	}
	return "q quit   s sort: " + s.view.order + "   p pause   " + state
}

// fit says how many lines there is no room for.
func fit(lines []styled, height int) []styled {
	if height < 1 || len(lines) <= height {
		return lines[:min(len(lines), max(0, height))]
	}
	more := len(lines) - height + 1
	return append(slices.Clone(lines[:height-1]), styled{count(more, "more line"), plain})
}

// clip shortens a line to width characters.
func clip(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(0, width-1)]) + "…"
}
