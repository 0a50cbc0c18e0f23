package lab_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/dialkv/dialkv/jepsen-lite/lab"
)

var rewrite = flag.Bool("rewrite", false, "write the schema's file again")

var schemaFile = filepath.Join("..", "..", "docs", "reference", "experiment.schema.json")

// The file that editors are given is the schema of this program.
func TestSchemaFileIsCurrent(t *testing.T) {
	want, err := json.MarshalIndent(lab.Schema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *rewrite {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what Schema says (%v): go test ./jepsen-lite/lab -run Schema -rewrite", schemaFile, err)
	}
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(lab.Schema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("experiment.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("experiment.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain is a YAML file as a validator of JSON takes it.
func plain(t *testing.T, data []byte) any {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What the parser takes the schema takes, and what is wrong in form both refuse.
func TestSchemaAgreesWithTheParser(t *testing.T) {
	s := schema(t)
	good := map[string][]byte{"template": lab.Template()}
	for _, name := range lab.Lessons() {
		_, data, err := lab.Lesson(name)
		if err != nil {
			t.Fatal(err)
		}
		good[name] = data
	}
	for name, text := range goodFiles {
		good[name] = []byte(text)
	}
	for name, data := range good {
		if _, err := lab.Parse(name, data); err != nil {
			t.Errorf("the parser refuses %s: %v", name, err)
		}
		if err := s.Validate(plain(t, data)); err != nil {
			t.Errorf("the schema refuses %s: %v", name, err)
		}
	}
	for _, bad := range badFiles {
		if _, err := lab.Parse("bad.yaml", []byte(bad.text)); err == nil {
			t.Errorf("the parser takes %s", bad.name)
		}
		if err := s.Validate(plain(t, []byte(bad.text))); (err == nil) != bad.deeper {
			t.Errorf("the schema on %s: %v", bad.name, err)
		}
	}
}
