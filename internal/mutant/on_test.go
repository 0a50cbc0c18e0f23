//go:build mutants

package mutant

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestOneSwitchFollowsTheEnvironment(t *testing.T) {
	want := os.Getenv("KV_MUTANT")
	on := map[string]bool{
		"M1":  M1,
		"M2":  M2,
		"M3":  M3,
		"M4":  M4,
		"M6":  M6,
		"M7":  M7,
		"M8":  M8,
		"M9":  M9,
		"M10": M10,
		"M11": M11,
		"M16": M16,
		"M17": M17,
		"M18": M18,
		"M22": M22,
		"M23": M23,
		"M24": M24,
		"M25": M25,
		"M26": M26,
		"M27": M27,
		"M28": M28,
		"M29": M29,
		"M30": M30,
		"M31": M31,
		"M32": M32,
		"M33": M33,
		"M34": M34,
		"M35": M35,
		"M36": M36,
		"M37": M37,
		"M38": M38,
		"M39": M39, "M40": M40, "M41": M41, "M42": M42, "M43": M43, "M44": M44, "M45": M45,
	}
	if len(on) != len(Names) {
		t.Fatalf("%d switches, %d names", len(on), len(Names))
	}
	for _, n := range Names {
		if on[n] != (n == want) {
			t.Errorf("with KV_MUTANT=%q, %s is %v", want, n, on[n])
		}
	}
	if !Enabled || Name() != want {
		t.Errorf("Enabled = %v, Name() = %q, want true and %q", Enabled, Name(), want)
	}
}

func TestUnknownNamePanicsWithTheList(t *testing.T) {
	defer func() {
		msg, _ := recover().(string)
		if missing := slices.ContainsFunc(Names, func(n string) bool { return !strings.Contains(msg, n) }); missing {
			t.Errorf("panic %q does not list the names", msg)
		}
	}()
	pick("M99")
}
