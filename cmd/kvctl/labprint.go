package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/lab"
)

// done prints one activity with what was measured.
func (r *labRun) done(result lab.Result) {
	mark := " "
	if result.Tolerated != nil || !result.Held() {
		mark = r.app.mark(result.Held())
	}
	line := fmt.Sprintf("  %s %s%s", mark, pad(result.Name, 46), rough(time.Duration(result.Duration*float64(time.Second))))
	r.say("%s  %s", pad(line, 58), outline(result))
	if result.Tolerated != nil && !*result.Tolerated {
		r.say("      wanted %s", compact(result.Wanted))
	}
	if result.Exception != "" {
		r.say("      %s", result.Exception)
	}
}

// outline is an answer in a few words.
func outline(result lab.Result) string {
	m, ok := result.Output.(map[string]any)
	if v, judged := m["verdict"]; judged {
		return fmt.Sprintf("%v: %v operations, %s", v, m["operations"], compact(m["checkers"]))
	}
	if !ok || m["outcome"] == nil {
		if s, ok := result.Output.(string); ok {
			return s
		}
		return compact(result.Output)
	}
	words := []string{fmt.Sprint(m["outcome"])}
	if code := m["code"]; code != nil {
		words = []string{fmt.Sprintf("%v, %v", code, m["outcome"])}
	}
	if found, ok := m["found"].(bool); ok && m["values"] != nil {
		words = words[:0]
		if !found {
			words = append(words, "nothing there")
		}
	}
	if values, ok := m["values"].([]any); ok && len(values) > 0 {
		words = append(words, compact(values))
	} else if value := m["value"]; value != nil {
		words = append(words, fmt.Sprint(value))
	}
	for _, f := range []struct{ name, format string }{
		{"level_served", "at %v"}, {"node", "by %v"}, {"acked", "held by %v"}, {"fence", "fence %v"},
	} {
		if v := m[f.name]; v != nil && v != "" {
			words = append(words, fmt.Sprintf(f.format, v))
		}
	}
	if old, ok := m["staleness_ms"].(float64); ok {
		words = append(words, "at most "+rough(time.Duration(old*float64(time.Millisecond)))+" old")
	}
	return strings.Join(words, ", ")
}

// compact is a value on one line that is not too long.
func compact(v any) string {
	const most = 160
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(b) > most {
		return strings.ToValidUTF8(string(b[:most]), "") + "…"
	}
	return string(b)
}

// wrap breaks a text into lines that a terminal has room for.
func wrap(text, indent string) string {
	const width = 96
	var out []string
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > width && line != indent {
			out = append(out, strings.TrimRight(line, " "))
			line = indent
		}
		line += word + " "
	}
	return strings.Join(append(out, strings.TrimRight(line, " ")), "\n")
}
