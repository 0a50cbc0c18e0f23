package maelstrom

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// workload is what one of Maelstrom's tests asks of a node.
type workload struct {
	name     string
	keyspace *kvpb.CreateKeyspaceRequest
	level    store.Level // of reads, unless another was asked for
	requests map[string]request
}

// request does what one message asks, and says what is replied.
type request func(ctx context.Context, k *client.Keyspace, body json.RawMessage, at client.Option) (answer, error)

// shared is the one key of a keyspace that holds one set or counter.
const shared = "all"

var workloads = []*workload{
	{
		name: "lin-kv", keyspace: &kvpb.CreateKeyspaceRequest{Name: "lin-kv", Mode: "cp"}, level: store.Strong,
		requests: map[string]request{"read": readKey, "write": writeKey, "cas": casKey},
	},
	{
		name: "g-set", keyspace: &kvpb.CreateKeyspaceRequest{Name: "g-set", Mode: "ap", Conflict: "set"}, level: store.Causal,
		requests: map[string]request{"add": addElement, "read": readSet},
	},
	{
		name: "pn-counter", keyspace: &kvpb.CreateKeyspaceRequest{Name: "pn-counter", Mode: "ap", Conflict: "counter"}, level: store.Causal,
		requests: map[string]request{"add": addDelta, "read": readCounter},
	},
}

// Workloads names those that a node can do.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

func findWorkload(name string) (*workload, error) {
	for _, w := range workloads {
		if w.name == name {
			return w, nil
		}
	}
	return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no workload %q", name), Try: "-w " + strings.Join(Workloads(), ", -w ")}
}

// Keys and values are any JSON: they are kept as its text, without blanks, and given back
// as they are.
func text(field string, raw json.RawMessage) (string, error) {
	var b bytes.Buffer
	if len(raw) == 0 {
		return "", &store.Error{Code: store.Invalid, Msg: "the request has no " + field}
	}
	if err := json.Compact(&b, raw); err != nil {
		return "", &store.Error{Code: store.Invalid, Msg: field + " is no JSON", Cause: err}
	}
	return b.String(), nil
}

// fields are those of every request there is.
type fields struct {
	Key, Value, From, To, Element json.RawMessage
	Delta                         *int64
}

// parse reads a body and returns the text of the fields that are asked for.
func parse(body json.RawMessage, want ...string) (fields, map[string]string, error) {
	var f fields
	if err := json.Unmarshal(body, &f); err != nil {
		return f, nil, &store.Error{Code: store.Invalid, Msg: "the request cannot be read", Cause: err}
	}
	raw := map[string]json.RawMessage{"key": f.Key, "value": f.Value, "from": f.From, "to": f.To, "element": f.Element}
	texts := make(map[string]string, len(want))
	for _, name := range want {
		t, err := text(name, raw[name])
		if err != nil {
			return f, nil, err
		}
		texts[name] = t
	}
	return f, texts, nil
}

func readKey(ctx context.Context, k *client.Keyspace, body json.RawMessage, at client.Option) (answer, error) {
	_, t, err := parse(body, "key")
	if err != nil {
		return nil, err
	}
	item, err := k.Get(ctx, t["key"], at)
	switch {
	case err != nil:
		return nil, err
	case !item.Found:
		return nil, &store.Error{Code: store.NotFound, Msg: "there is no key " + t["key"]}
	}
	return answer{"type": "read_ok", "value": json.RawMessage(item.Value)}, nil
}

func writeKey(ctx context.Context, k *client.Keyspace, body json.RawMessage, _ client.Option) (answer, error) {
	_, t, err := parse(body, "key", "value")
	if err != nil {
		return nil, err
	}
	_, err = k.Put(ctx, t["key"], []byte(t["value"]))
	return answer{"type": "write_ok"}, err
}

func casKey(ctx context.Context, k *client.Keyspace, body json.RawMessage, _ client.Option) (answer, error) {
	_, t, err := parse(body, "key", "from", "to")
	if err != nil {
		return nil, err
	}
	saw, err := k.CompareAndSwap(ctx, t["key"], []byte(t["from"]), []byte(t["to"]))
	if store.AsError(err) != nil && store.AsError(err).Code == store.Conflict && !saw.Found {
		return failure(codeNoKey, "there is no key "+t["key"]), nil
	}
	return answer{"type": "cas_ok"}, err
}

func addElement(ctx context.Context, k *client.Keyspace, body json.RawMessage, _ client.Option) (answer, error) {
	_, t, err := parse(body, "element")
	if err != nil {
		return nil, err
	}
	_, err = k.Add(ctx, shared, t["element"])
	return answer{"type": "add_ok"}, err
}

func readSet(ctx context.Context, k *client.Keyspace, _ json.RawMessage, at client.Option) (answer, error) {
	item, err := k.Get(ctx, shared, at)
	if err != nil {
		return nil, err
	}
	elements := make([]json.RawMessage, 0, len(item.Values))
	for _, v := range item.Values {
		elements = append(elements, v)
	}
	return answer{"type": "read_ok", "value": elements}, nil
}

func addDelta(ctx context.Context, k *client.Keyspace, body json.RawMessage, _ client.Option) (answer, error) {
	f, _, err := parse(body)
	if err == nil && f.Delta == nil {
		err = &store.Error{Code: store.Invalid, Msg: "the request has no delta"}
	}
	if err != nil {
		return nil, err
	}
	_, _, err = k.Increment(ctx, shared, *f.Delta)
	return answer{"type": "add_ok"}, err
}

func readCounter(ctx context.Context, k *client.Keyspace, _ json.RawMessage, at client.Option) (answer, error) {
	item, err := k.Get(ctx, shared, at)
	if err != nil {
		return nil, err
	}
	sum := json.RawMessage("0")
	if item.Found {
		if _, err := strconv.ParseInt(string(item.Value), 10, 64); err != nil {
			return nil, fmt.Errorf("maelstrom: the counter shows %q: %w", item.Value, err)
		}
		sum = item.Value
	}
	return answer{"type": "read_ok", "value": sum}, nil
}
