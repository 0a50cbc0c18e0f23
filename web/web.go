// Package web is the page of a cluster as browsers get it: index.html, and what esbuild
// makes of the TypeScript and the style sheet in src. It needs nothing from elsewhere.
//
// dist is committed, so that nothing but Go is needed to build, and a test says whether it
// is what src gives.
package web

import (
	"embed"
	"io/fs"
)

//go:generate go tool -modfile=../tools/go.mod esbuild src/page.ts src/page.css src/index.html src/icon.svg --bundle --loader:.html=copy --loader:.svg=copy --minify --target=es2022 --charset=utf8 --outdir=dist --log-level=warning

//go:embed dist
var dist embed.FS

// Files are what a browser may ask for.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return dist // dist is there, or this package does not build
	}
	return files
}
