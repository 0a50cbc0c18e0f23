package lab

import (
	"github.com/dialkv/dialkv/jepsen-lite/workload"
)

// object is a JSON schema, or a part of one.
type object = map[string]any

// Schema is the format as a JSON schema (draft 2020-12), for editors and for whoever
// writes such files by program. It knows the words and their forms; that a node or a
// keyspace is there, and that an answer is one of its choices, only [Parse] knows.
func Schema() map[string]any {
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "dialkv experiment",
		"description": "An experiment in the words of the Chaos Toolkit, with cluster, say and predict. " +
			"kvctl lab verify looks closer.",
		"type": "object", "additionalProperties": false, "required": words("title", "description", "method"),
		"properties": object{
			"version": text(), "title": text(), "description": text(),
			"tags":          object{"type": "array", "items": text(), "maxItems": maxSteps},
			"configuration": object{"type": "object"}, "secrets": object{"type": "object"},
			"contributions":           object{"type": "object", "additionalProperties": object{"enum": contributionWords}},
			"cluster":                 clusterSchema(),
			"steady-state-hypothesis": hypothesisSchema(),
			"method":                  object{"type": "array", "maxItems": maxSteps, "items": object{"$ref": "#/$defs/step"}},
			"rollbacks":               activities(),
			"runtime":                 runtimeSchema(),
			"extensions":              true,
			"dry":                     object{"const": false},
			"controls":                noControls(),
		},
		"$defs": object{
			"activity": object{"anyOf": []any{reference(), closed(activityProperties(), "type", "name", "provider")}},
			"step":     stepSchema(),
			"provider": providerSchema(),
			"time":     timeSchema(),
		},
	}
}

func text() object               { return object{"type": words("string", "number", "boolean"), "maxLength": maxText} }
func words(w ...string) []string { return w }
func number(least, most int) object {
	return object{"type": "integer", "minimum": least, "maximum": most}
}
func noControls() object { return object{"type": "array", "maxItems": 0} }
func reference() object  { return closed(object{"ref": text()}, "ref") }
func timeSchema() object { return object{"type": words("number", "string")} }
func activities() object {
	return object{"type": "array", "maxItems": maxSteps, "items": object{"$ref": "#/$defs/activity"}}
}

// closed is an object with these properties and no others.
func closed(properties object, required ...string) object {
	o := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

func clusterSchema() object {
	keyspace := closed(object{
		"name": text(), "mode": object{"enum": words("cp", "ap")}, "replicas": number(1, 7), "groups": number(1, 64),
		"conflict": text(), "w": text(), "durability": text(),
	}, "name", "mode")
	return closed(object{"nodes": number(1, 7), "timing": object{"enum": timings}, "keyspaces": object{"type": "array", "maxItems": maxKeyspaces, "items": keyspace}})
}

func hypothesisSchema() object {
	probe := object{"anyOf": []any{reference(), closed(activityProperties(), "type", "name", "provider", "tolerance")}}
	return closed(object{"title": text(), "probes": object{"type": "array", "maxItems": maxSteps, "items": probe}, "controls": noControls()}, "title")
}

func runtimeSchema() object {
	strategy := func(words []string) object { return closed(object{"strategy": object{"enum": words}}) }
	return closed(object{"hypothesis": strategy(hypothesisStrategies), "rollbacks": strategy(rollbackStrategies)})
}

func activityProperties() object {
	return object{
		"type": object{"enum": words("action", "probe")}, "name": text(), "background": object{"type": "boolean"},
		"pauses":    closed(object{"before": object{"$ref": "#/$defs/time"}, "after": object{"$ref": "#/$defs/time"}}),
		"tolerance": true, "controls": noControls(), "provider": object{"$ref": "#/$defs/provider"},
	}
}

func stepSchema() object {
	predict := closed(object{
		"ask": text(), "answer": text(), "why": text(),
		"choices": object{"type": "array", "minItems": 2, "maxItems": maxChoices, "items": text()},
	}, "ask", "choices", "answer")
	tell := object{"say": text(), "predict": predict}
	whole := activityProperties()
	for name, s := range tell {
		whole[name] = s
	}
	told := closed(tell)
	told["minProperties"] = 1
	referred := closed(object{"ref": text(), "say": text(), "predict": predict}, "ref")
	return object{"anyOf": []any{closed(whole, "type", "name", "provider"), told, referred}}
}

func providerSchema() object {
	all := []any{}
	for _, f := range functions() {
		properties, must := object{}, []string{}
		for _, a := range f.args {
			properties[a.name] = a.schema()
			if a.must {
				must = append(must, a.name)
			}
		}
		p := closed(object{"type": object{"const": "kv"}, "func": object{"const": f.name}, "arguments": closed(properties, must...)}, "type", "func")
		p["description"] = f.says
		if len(must) > 0 {
			p["required"] = words("type", "func", "arguments")
		}
		all = append(all, p)
	}
	anything := func(kind string, must string) object {
		properties := object{}
		for _, word := range providerWords[kind] {
			properties[word] = true
		}
		properties["type"], properties[must] = object{"const": kind}, text()
		return closed(properties, "type", must)
	}
	return object{"anyOf": append(all, anything("http", "url"), anything("process", "path"))}
}

// schema of an argument. A placeholder may stand for any of them.
func (a argument) schema() object {
	o := object{"type": words("string", "number", "boolean")}
	switch a.kind {
	case kindYes:
		o = object{"type": words("boolean", "string")}
	case kindNumber, kindPercent, kindTime, kindSkew:
		o = object{"type": words("number", "string")}
	case kindNodes, kindSides, kindLinks, kindClaims:
		o = object{"type": words("string", "array")}
	case kindWorkload:
		o = object{"enum": workload.Names}
	}
	o["description"] = a.says
	return o
}
