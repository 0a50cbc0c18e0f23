package lab

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"github.com/dialkv/dialkv/store"
)

//go:embed lessons/*.yaml
var files embed.FS

//go:embed template.yaml
var template []byte

// Template is a file to begin with: every word of the format, explained.
func Template() []byte { return template }

// Lessons names the experiments that come with the program, in the order in which they
// are best taken.
func Lessons() []string {
	entries, err := files.ReadDir("lessons")
	if err != nil {
		panic("lab: " + err.Error()) // it is in the program
	}
	var names []string
	for _, e := range entries {
		_, name, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".yaml"), "-")
		names = append(names, name)
	}
	return names
}

// Lesson returns the file of a lesson, and what it is called.
func Lesson(name string) (file string, data []byte, err error) {
	for i, n := range Lessons() {
		if n != name {
			continue
		}
		file = fmt.Sprintf("%02d-%s.yaml", i+1, name)
		data, err = files.ReadFile(path.Join("lessons", file))
		return file, data, err
	}
	return "", nil, &store.Error{
		Code: store.NotFound, Op: "lab", Msg: fmt.Sprintf("there is no lesson %q", name), Try: "kvctl lab list, or the name of a file",
	}
}
