package ap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// stamped is how far the stamp of a new write at the node is ahead of the true time.
func (w *world) stamped(node string) time.Duration {
	w.t.Helper()
	w.put(node, "stamped", "v")
	page := w.read(node, store.Query{Key: "stamped", Siblings: true})
	return time.Until(time.UnixMilli(int64(page.Items[0].Siblings[0].Stamp >> 16)))
}

func near(d, want time.Duration) bool { return (d - want).Abs() <= 10*time.Millisecond }

func TestNodeWithAWrongClockStampsWithTheGroups(t *testing.T) {
	const minute = time.Minute
	for name, c := range map[string]struct {
		ahead, want []time.Duration // of each member: of its clock, of its stamps
	}{
		"one of three ahead":       {[]time.Duration{60 * minute, 0, 0}, []time.Duration{0, 0, 0}},
		"one of three behind":      {[]time.Duration{-60 * minute, 0, 0}, []time.Duration{0, 0, 0}},
		"one of five":              {[]time.Duration{time.Second, 0, 0, 0, 0}, []time.Duration{0, 0, 0, 0, 0}},
		"two of five, both ways":   {[]time.Duration{10 * minute, -10 * minute, 0, 0, 0}, []time.Duration{0, 0, 0, 0, 0}},
		"one of four":              {[]time.Duration{10 * minute, 0, 0, 0}, []time.Duration{0, 0, 0, 0}},
		"within the limit":         {[]time.Duration{400 * time.Millisecond, 0, 0}, []time.Duration{400 * time.Millisecond, 0, 0}},
		"all alike":                {[]time.Duration{60 * minute, 60 * minute, 60 * minute}, []time.Duration{60 * minute, 60 * minute, 60 * minute}},
		"two that cannot be told":  {[]time.Duration{60 * minute, 0}, []time.Duration{60 * minute, 0}},
		"alone":                    {[]time.Duration{60 * minute}, []time.Duration{60 * minute}},
		"a clock of before 1970":   {[]time.Duration{-100 * 365 * 24 * 60 * minute, 0, 0}, []time.Duration{0, 0, 0}},
		"one between two that err": {[]time.Duration{60 * minute, -60 * minute, 0}, []time.Duration{0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, len(c.ahead), Config{}, func(w *world) {
				for i, ahead := range c.ahead {
					w.skew(w.names[i], ahead)
				}
				time.Sleep(2 * time.Second)
				for i, node := range w.names {
					r := w.at(node)
					if d := time.Until(r.clocks.now()); !near(d, c.want[i]) {
						t.Errorf("%s, whose clock is %v ahead, takes stamps %v ahead", node, c.ahead[i], d)
					}
					wrong := c.ahead[i] != c.want[i]
					if s := r.Status(); !s.Ready || (s.Detail != "") != wrong || wrong && !strings.Contains(s.Detail, "stamped with the group's time") {
						t.Errorf("%s says %q", node, s.Detail)
					}
				}
				if d := w.stamped("n1"); !near(d, c.want[0]) {
					t.Errorf("n1 stamps %v ahead", d)
				}
			})
		})
	}
}

func TestMedianIsCarriedOnThroughACutAndAJump(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.skew("n1", time.Hour)
		time.Sleep(2 * time.Second)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(10 * time.Minute)
		if d := w.stamped("n1"); !near(d, 0) {
			t.Errorf("cut off, it stamps %v ahead", d)
		}
		w.skew("n1", -time.Hour)
		if d := time.Until(w.at("n1").clocks.now()); !near(d, 0) {
			t.Errorf("after a jump, it takes stamps %v ahead", d)
		}
		time.Sleep(clockMemory)
		if d := time.Until(w.at("n1").clocks.now()); !near(d, -time.Hour) {
			t.Errorf("alone for long, it takes stamps %v ahead", d)
		}
		w.skew("n1", 0)
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		if d := w.at("n1").Status().Detail; d != "" {
			t.Errorf("with a clock that is right again it says %q", d)
		}
	})
}

// A write of a node whose clock is ahead does not win over concurrent ones of others.
func TestWrongClockDoesNotWin(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.skew("n1", time.Hour)
		time.Sleep(2 * time.Second)
		for i := range 20 {
			key := fmt.Sprint(i)
			w.cut([]string{"n1"}, []string{"n2", "n3"})
			w.put("n1", key, "wrong")
			time.Sleep(100 * time.Millisecond)
			w.put("n2", key, "later")
			w.heal([]string{"n1"}, []string{"n2", "n3"})
			time.Sleep(3 * time.Second)
			for _, node := range w.names {
				w.expect(node, key, "later")
			}
		}
	})
}

func TestClockThatIsNonsenseOrLateIsNotCounted(t *testing.T) {
	c := newClocks(time.Now)
	now := time.Now()
	far := now.Add(time.Hour).UnixMilli()
	c.heard("n2", 0, now, now)
	c.heard("n3", -5, now, now)
	c.heard("n4", maxClock+1, now, now)
	c.heard("n5", far, now.Add(-2*clockLimit), now)
	if len(c.peers) != 0 {
		t.Errorf("it counts %v", c.peers)
	}
}
