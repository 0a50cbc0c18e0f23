# quick before every commit, check before every push.

GO   ?= go
LINT := $(GO) tool -modfile=tools/go.mod golangci-lint
BUF  := $(GO) tool -modfile=tools/go.mod buf

.PHONY: help build test quick check format generate generated lint mutants

help: ## the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

build: ## both programs, in bin/
	$(GO) build -o bin/ ./cmd/...

test: ## every test
	$(GO) test ./...

quick: format ## format, vet, and the tests of what changed since HEAD
	@changed=$$(.ci/changed); \
	if [ -z "$$changed" ]; then echo "no package changed"; else echo "$$changed"; $(GO) vet $$changed && $(GO) test $$changed; fi

check: format lint generated mutants ## all that must hold before a push
	$(GO) vet ./...
	$(GO) test -race ./...

format: ## fail if a file is not formatted
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w $$unformatted"; exit 1; fi

lint: ## golangci-lint
	$(LINT) run ./...

generate: ## the code that is generated from proto/, and web/dist
	$(BUF) generate
	$(GO) generate ./web

# The generated code may differ from HEAD, when proto/ does; it may not differ from
# what proto/ says now.
generated: ## fail if generated code is not what proto/ says
	@before=$$(cat internal/kvpb/*.pb.go internal/logpb/*.pb.go | cksum); \
	$(BUF) generate && \
	if [ "$$before" != "$$(cat internal/kvpb/*.pb.go internal/logpb/*.pb.go | cksum)" ]; then \
		echo "the generated code was not what proto/ says; it is now, look at git diff"; exit 1; fi

mutants: ## the planted bugs build, and a build without them has none
	$(GO) vet -tags mutants ./...
	$(GO) test -tags mutants ./internal/mutant
