package nemesis_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/store"
)

// others are the faults that need no more than their names.
var others = slices.DeleteFunc(slices.Clone(nemesis.Names), func(name string) bool { return name == nemesis.Matrix })

var five = []string{"n1", "n2", "n3", "n4", "n5"}

func TestPlanFollowsFromTheSeed(t *testing.T) {
	cfg := nemesis.Config{Faults: others, Duration: 5 * time.Minute, Seed: 3}
	a, err := cfg.Plan(five)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := cfg.Plan(five); !reflect.DeepEqual(a, b) {
		t.Error("the same seed gave two plans")
	}
	cfg.Seed = 4
	if b, _ := cfg.Plan(five); reflect.DeepEqual(a, b) {
		t.Error("two seeds gave the same plan")
	}
}

func TestPlanKeepsToItsLimits(t *testing.T) {
	for seed := range int64(200) {
		cfg := nemesis.Config{Faults: others, Duration: time.Duration(5*len(nemesis.Names)+int(seed%60)) * time.Second, Seed: seed}
		steps, err := cfg.Plan(five)
		if err != nil {
			t.Fatal(err)
		}
		if err := sound(cfg, steps); err != nil {
			t.Fatalf("seed %d, %v: %v\n%+v", seed, cfg.Duration, err, steps)
		}
	}
}

// sound says what is wrong with a plan for five nodes.
func sound(cfg nemesis.Config, steps []nemesis.Step) error {
	for _, name := range cfg.Faults {
		if !slices.ContainsFunc(steps, func(s nemesis.Step) bool { return s.Fault == name }) {
			return fmt.Errorf("%s never happens", name)
		}
	}
	free := time.Duration(0)
	for _, s := range steps {
		if s.Begin < free || s.Hold < 100*time.Millisecond {
			return fmt.Errorf("%+v overlaps with the one before, or is too short", s)
		}
		most := 2
		switch s.Fault {
		case nemesis.Bridge:
			most = 3 // one half and the bridge
		case nemesis.Ring, nemesis.Restart:
			most = 5 // all of them
		}
		if len(s.Nodes) < 1 || len(s.Nodes) > most {
			return fmt.Errorf("%+v is not on a minority", s)
		}
		free = s.Begin + s.Hold
	}
	if free > cfg.Duration {
		return fmt.Errorf("it ends at %v", free)
	}
	return nil
}

func TestPlanHasShortAndLongFaultsOfEveryShape(t *testing.T) {
	short, long := 0, 0
	shapes := map[nemesis.Shape]int{}
	for seed := range int64(20) {
		steps, err := nemesis.Config{Faults: []string{nemesis.Partition}, Duration: time.Minute, Seed: seed}.Plan(five)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			shapes[s.Shape]++
			switch {
			case s.Hold < 1100*time.Millisecond: // before a silent node is given up
				short++
			case s.Hold > 1500*time.Millisecond:
				long++
			}
		}
	}
	if short < 20 || long < 20 || len(shapes) != 4 {
		t.Errorf("%d short, %d long, shapes %v", short, long, shapes)
	}
}

func TestImpossiblePlansAreRefused(t *testing.T) {
	for _, c := range []struct {
		cfg   nemesis.Config
		nodes []string
	}{
		{nemesis.Config{Faults: []string{"comet"}, Duration: time.Minute}, five},
		{nemesis.Config{Faults: []string{nemesis.Kill}, Duration: time.Minute}, five[:2]},
		{nemesis.Config{Faults: []string{nemesis.Partition}, Duration: time.Minute}, five[:1]},
		{nemesis.Config{Faults: others, Duration: 2 * time.Second}, five},
		{nemesis.Config{Faults: []string{nemesis.Matrix}, Duration: time.Minute}, five},
		{nemesis.Config{Faults: []string{nemesis.Matrix}, Links: "n1->n9", Duration: time.Minute}, five},
		{nemesis.Config{Faults: []string{nemesis.Kill}, Links: "n1->n2", Duration: time.Minute}, five},
		{nemesis.Config{Faults: []string{nemesis.Kill}, Duration: time.Minute, Only: []int{1000}}, five},
		{nemesis.Config{Faults: []string{nemesis.Kill}, Duration: time.Minute, Only: []int{-1}}, five},
	} {
		if _, err := c.cfg.Plan(c.nodes); !errors.Is(err, store.Invalid) {
			t.Errorf("%+v on %v: %v", c.cfg, c.nodes, err)
		}
	}
}

// A step that is left out leaves its time empty, and moves no other.
func TestStepsCanBeLeftOut(t *testing.T) {
	cfg := nemesis.Config{Faults: []string{nemesis.Partition, nemesis.Kill}, Duration: time.Minute, Seed: 4}
	all, err := cfg.Plan(five)
	if err != nil || len(all) < 4 {
		t.Fatalf("%d steps, %v", len(all), err)
	}
	cfg.Only = []int{3, 1, 3}
	if some, err := cfg.Plan(five); err != nil || !reflect.DeepEqual(some, []nemesis.Step{all[1], all[3]}) {
		t.Errorf("%+v, %v", some, err)
	}
	cfg.Only = []int{}
	if none, err := cfg.Plan(five); err != nil || len(none) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
}

func TestParse(t *testing.T) {
	for list, want := range map[string][]string{
		"": nil, "none": nil,
		"kill":                     {"kill"},
		"partition, kill,pause":    {"partition", "kill", "pause"},
		"kill,kill,none,partition": {"kill", "partition"},
	} {
		if got, err := nemesis.Parse(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
	if _, err := nemesis.Parse("partition,comet"); !errors.Is(err, store.Invalid) {
		t.Errorf("comet: %v", err)
	}
}
