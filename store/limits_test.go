package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/store"
)

// is wants err to be nil for the empty code, else to have it and a message.
func is(t *testing.T, what string, err error, want store.Code) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (!errors.Is(err, want) || store.AsError(err).Msg == ""):
		t.Errorf("%s: got %v, want %s with a message", what, err, want)
	}
}

func TestKeyLimits(t *testing.T) {
	for key, want := range map[string]store.Code{
		"":                                    store.Invalid,
		"k":                                   "",
		"a/b/c":                               "",
		"\x00":                                "",
		"日本":                                  "",
		"\xff":                                store.Invalid,
		"half \xe6\x97":                       store.Invalid,
		strings.Repeat("k", store.MaxKey):     "",
		strings.Repeat("k", store.MaxKey+1):   store.TooLarge,
		strings.Repeat("\xff", store.MaxKey):  store.Invalid,
		strings.Repeat("é", store.MaxKey/2):   "",
		strings.Repeat("é", store.MaxKey/2+1): store.TooLarge,
	} {
		is(t, "key "+key[:min(len(key), 20)], store.CheckKey(key), want)
	}
}

func TestKeyErrorIsShortWhateverTheKey(t *testing.T) {
	if err := store.CheckKey(strings.Repeat("\xff", store.MaxKey)); len(err.Error()) > 300 {
		t.Errorf("%d bytes of message", len(err.Error()))
	}
}

func TestValueLimit(t *testing.T) {
	is(t, "no value", store.CheckValue(nil), "")
	is(t, "the largest", store.CheckValue(make([]byte, store.MaxValue)), "")
	is(t, "one more", store.CheckValue(make([]byte, store.MaxValue+1)), store.TooLarge)
}

func TestNameLimits(t *testing.T) {
	for name, want := range map[string]store.Code{
		"":                                   store.Invalid,
		"n1":                                 "",
		"0rders":                             "",
		"a.b-c_d":                            "",
		".hidden":                            store.Invalid,
		"-dash":                              store.Invalid,
		"_low":                               store.Invalid,
		"a/b":                                store.Invalid,
		"a b":                                store.Invalid,
		"é":                                  store.Invalid,
		"a\xff":                              store.Invalid,
		"n1\n":                               store.Invalid,
		strings.Repeat("n", store.MaxName):   "",
		strings.Repeat("n", store.MaxName+1): store.Invalid,
	} {
		is(t, "name "+name, store.CheckName("node", name), want)
	}
}
