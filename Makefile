# Everything here is also a plain command; see CONTRIBUTING.md.
.PHONY: help build test lint vuln demo fuzz kills model neighbour clients powercut bench

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

build: ## bin/foreman-relay
	go build -o bin/foreman-relay ./cmd/foreman-relay

test: ## the whole test run
	go test -race -shuffle=on -timeout 10m ./...

lint: ## gofmt, vet and golangci-lint
	.ci/lint

vuln: ## known vulnerabilities of what we depend on
	.ci/vuln

demo: ## the relay's story in a terminal
	go run ./test/demo

fuzz: ## every fuzz target for 30 s
	.ci/fuzz 30s

kills: ## the kill and takeover tests, ten times over (about 20 minutes)
	go test -race -count=10 -timeout 60m -run 'TestKills|TestTakeover' ./test

model: ## the worker against its model, 20 000 seeds (2 minutes)
	go test ./relay -run TestTheWorkerAgainstItsModel -model.seeds 20000

neighbour: ## one organization with 200 000 messages waiting, and how fast another's arrive (2 minutes)
	NEIGHBOUR_WAITING=200000 go test -count=1 -timeout 10m -v -run TestANoisyNeighbour ./test

clients: ## Debian's Puppet and Ansible against the relay; installs them
	.ci/install puppet ansible python3-requests
	CI=true go test -count=1 -timeout 5m -v ./test/clients

powercut: ## the power of an emulated machine is cut again and again (2 to 10 minutes; installs qemu)
	test/powercut/install
	go run ./test/powercut $(POWERCUT)

bench: ## the relay beside the least one could write around JetStream, as ratios (about 20 minutes)
	go run ./test/bench $(BENCH)
