package localcluster

import "github.com/dialkv/dialkv/internal/kvpb"

// KV is the data API of a node by itself: nothing is routed and nothing is tried again.
// A checker uses it to send one request twice. The cluster owns the connection, which no
// fault cuts.
func (m *Memory) KV(name string) (kvpb.KVClient, error) {
	r, err := m.get(name)
	if err != nil {
		return nil, err
	}
	return kvpb.NewKVClient(r.admin), nil
}

// KV is the data API of a node by itself, as for Memory.
func (p *Procs) KV(name string) (kvpb.KVClient, error) {
	conn, err := p.conn(name)
	if err != nil {
		return nil, err
	}
	return kvpb.NewKVClient(conn), nil
}
