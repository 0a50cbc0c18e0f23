package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// listen opens n1, n2 and n3 with what change makes of the configuration.
func listen(t *testing.T, change func(*Config)) *stage {
	t.Helper()
	s := &stage{rules: new(Rules), nodes: map[string]*Endpoint{}}
	s.open = func(name string) (*Endpoint, error) {
		cfg := Config{Node: name, Listen: "127.0.0.1:0", Gossip: "127.0.0.1:0", Resolve: s.resolve}
		change(&cfg)
		return Listen(cfg)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		e := s.restart(t, name)
		t.Cleanup(func() { _ = e.Close() })
	}
	return s
}

func TestWithoutFaultsTheSocketIsBareAndRulesAreRefused(t *testing.T) {
	s := listen(t, func(*Config) {})
	here, there := s.connect(t, "n1", "n2", Raft)
	if _, ok := here.(*wire); !ok {
		t.Errorf("the connection is a %T", here)
	}
	send(t, here, "bare")
	expect(t, there, "bare")
	if there.RemoteAddr().String() != "n1" || there.LocalAddr().String() != "n2" {
		t.Errorf("names: %s to %s", there.RemoteAddr(), there.LocalAddr())
	}
	rules := s.nodes["n1"].Rules()
	if err := rules.Set([]Rule{hole("n1", "n2")}); !errors.Is(err, store.Denied) {
		t.Errorf("set: %v", err)
	}
	if err := rules.Set(nil); err != nil {
		t.Errorf("heal: %v", err)
	}
	s.nodes["n2"].Kill()
	if err := ending(here); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a kill: %v", err)
	}
}

func TestStaleAddressBookDoesNotReachTheWrongNode(t *testing.T) {
	refused := make(chan error, 1)
	s := listen(t, func(c *Config) {
		if c.Node == "n1" {
			right := c.Resolve
			c.Resolve = func(string) (string, string, bool) { return right("n3") }
		}
		c.Events.Refused = func(_ string, err error) { refused <- err }
	})
	if _, err := s.dial("n1", "n2", Raft, patience); err == nil {
		t.Error("the dial reached somebody")
	}
	if err := <-refused; !errors.Is(err, errPreface) {
		t.Errorf("n3 says: %v", err)
	}
	_ = s.nodes["n1"].SendPacket("n2", []byte("astray"))
	_ = s.nodes["n2"].SendPacket("n3", []byte("right"))
	if p := <-s.nodes["n3"].Packets(); p.From != "n2" {
		t.Errorf("n3 took a packet meant for another: %+v", p)
	}
}

func TestWrongPrefaceIsClosed(t *testing.T) {
	s := listen(t, func(*Config) {})
	big := append([]byte(magic), prefaceVersion, byte(Raft), 255)
	for name, head := range map[string][]byte{
		"version":  append([]byte(magic), 99, byte(Raft)),
		"kind":     append([]byte(magic), prefaceVersion, 77),
		"oversize": append(big, make([]byte, 300)...),
		"packet":   preface{"n2", "n1", Packet}.encode(),
		"other":    preface{"n2", "n9", Raft}.encode(),
	} {
		c, err := net.Dial("tcp", s.nodes["n1"].Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(head)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
			t.Errorf("%s: read %d bytes, %v; want the end", name, n, err)
		}
		_ = c.Close()
	}
	stranger, err := net.Dial("tcp", s.nodes["n1"].GossipAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	send(t, stranger, "GET / HTTP/1.1\r\n\r\n")
	if err := ending(stranger); isTimeout(err) {
		t.Error("an outside client got in at the gossip address")
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func TestSilentStrangersDoNotOutliveClose(t *testing.T) {
	s := listen(t, func(*Config) {})
	for range greeters + 10 {
		c, err := net.Dial("tcp", s.nodes["n1"].Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	start := time.Now()
	_ = s.nodes["n1"].Close()
	if took := time.Since(start); took > time.Second {
		t.Errorf("close took %s", took)
	}
}

func TestAddressThatCannotBeBoundIsNamed(t *testing.T) {
	s := listen(t, func(*Config) {})
	n1 := s.nodes["n1"]
	for _, cfg := range []Config{
		{Node: "n4", Listen: n1.Addr()},
		{Node: "n4", Listen: "127.0.0.1:0", Gossip: n1.GossipAddr()},
		{Node: "n4", Listen: "no port"},
		{Node: "n4"},
		{Node: "n 4", Listen: "127.0.0.1:0"},
	} {
		_, err := Listen(cfg)
		if e := store.AsError(err); e == nil || e.Code != store.Invalid || e.Try == "" {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestGossipTakesOnePortForTCPAndUDP(t *testing.T) {
	s := listen(t, func(*Config) {})
	e := s.nodes["n1"]
	udp := e.world.(*sockets).packets.LocalAddr().String()
	if e.GossipAddr() != udp {
		t.Errorf("TCP %s, UDP %s", e.GossipAddr(), udp)
	}
}

func TestClosedConnectionInAHoleEndsWithTheEndpoint(t *testing.T) {
	s := socketStage()
	a, b := s.restart(t, "n1"), s.restart(t, "n2")
	here, there := s.connect(t, "n1", "n2", Raft)
	s.set(t, bothWays(Hole)...)
	send(t, here, "held")
	_ = here.Close()
	expectSilence(t, there)
	start := time.Now()
	_ = a.Close()
	_ = b.Close()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("closing took %s", took)
	}
}

func TestTLSProvesBothNames(t *testing.T) {
	ca := newAuthority(t)
	s := listen(t, func(c *Config) {
		certificate := ca.issue(t, c.Node)
		if c.Node == "n3" {
			certificate = ca.issue(t, "somebody-else")
		}
		c.Faults = true
		c.TLS = &tls.Config{
			Certificates: []tls.Certificate{certificate},
			RootCAs:      ca.pool, ClientCAs: ca.pool, ClientAuth: tls.VerifyClientCertIfGiven,
		}
	})
	here, there := s.connect(t, "n1", "n2", Raft)
	send(t, here, "secret")
	expect(t, there, "secret")
	_ = there.Close()
	if err := ending(here); err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := s.dial("n1", "n3", Raft, patience); err == nil {
		t.Error("n3 passed with another's certificate, dialled")
	}
	if _, err := s.dial("n3", "n1", Raft, patience); err == nil {
		t.Error("n3 passed with another's certificate, dialling")
	}
	outside, err := tls.Dial("tcp", s.nodes["n1"].Addr(), &tls.Config{RootCAs: ca.pool, ServerName: "n1", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if got := outside.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Errorf("negotiated %q, gRPC clients insist on h2", got)
	}
	_, _ = io.WriteString(outside, "PRI * HTTP/2.0")
	c, err := s.nodes["n1"].Listener(RPC).Accept()
	if err != nil {
		t.Fatal(err)
	}
	expect(t, c, "PRI * HTTP/2.0")
}

type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
