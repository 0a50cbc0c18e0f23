package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

func TestTheDemoSaysWhereItsPageIs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := localcluster.NewMemory(ctx, localcluster.MemoryConfig{Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	var said bytes.Buffer
	d := &demo{app: &app{err: &said}, web: taken.Addr().String(), webAny: true}
	at := ""
	err = d.show(ctx, c, func() error {
		found := regexp.MustCompile(`page: (http://127\.0\.0\.1:\d+)`).FindStringSubmatch(said.String())
		if found == nil || strings.HasSuffix(found[1], d.web) {
			t.Fatalf("it says %q, and %s is taken", said.String(), d.web)
		}
		at = found[1]
		resp, err := http.Get(at + "/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if !strings.Contains(string(body), "<title>dialkv</title>") {
			t.Errorf("the page is %.100s", body)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get(at + "/"); err == nil {
		t.Error("the page is still served")
	}
	d.webAny = false
	if err := d.show(ctx, c, func() error { return nil }); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), d.web) {
		t.Errorf("the address that was asked for is taken: %v", err)
	}
	d.web = noWeb
	said.Reset()
	if err := d.show(ctx, c, func() error { return nil }); err != nil || said.Len() > 0 {
		t.Errorf("no page: %v %q", err, said.String())
	}
}

func TestThePageOfTheDemoIsForThisMachine(t *testing.T) {
	for _, addr := range []string{"nowhere", "0.0.0.0:7070", ":7070", "192.0.2.1:7070", "example.org:7070"} {
		if err := checkWeb(addr); !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "--web") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"", noWeb, "127.0.0.1:0", "[::1]:7070", "localhost:7070"} {
		if err := checkWeb(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
