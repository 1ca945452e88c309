package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/theforeman/foreman-relay/relay"
)

// openHandshake takes up the document that Foreman has given: its routes hold from
// here on, and what an earlier process has left undone is done. A store that
// cannot be written does not keep the relay from starting.
func (s *server) openHandshake(ctx context.Context) error {
	s.handshaker = relay.NewHandshaker(relay.HandshakerOptions{Store: s.broker, CheckMore: s.config.checkHandshake,
		Configured: s.configured(), FarDrain: s.foreman == nil, Delivers: s.delivers(), Now: time.Now})
	document, err := s.handshaker.Start(ctx)
	if err != nil {
		return err
	}
	if s.config.Routes, err = s.config.withRoutes(document.Routes); err != nil {
		s.log.Error().Err(err).Msg("routes of the handshake are of no use to this version; they are left out")
	}
	if err := s.handshaker.Resume(ctx); err != nil {
		s.log.Error().Err(err).Msg("the handshake is not wholly in effect; sending it again, or the next start, goes on with it")
	}
	return nil
}

// configured are the members of a document that the configuration has too.
func (s *server) configured() (pointers []string) {
	for name := range s.config.Routes {
		pointers = append(pointers, relay.JSONPointer("routes", name))
	}
	for name := range s.config.Destinations {
		if _, joined := s.joined[name]; !joined {
			pointers = append(pointers, relay.JSONPointer("destinations", name))
		}
	}
	return pointers
}

// withRoutes are the configured routes, and those of a handshake that the
// configuration does not name.
func (c *Config) withRoutes(more map[string]map[string]any) (map[string]RouteConfig, error) {
	all := maps.Clone(c.Routes)
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(more)) {
		if _, configured := all[name]; configured {
			continue
		}
		r, err := readRoute(name, more[name])
		if err != nil {
			problems = append(problems, err)
			continue
		}
		all[name] = r
	}
	return all, errors.Join(problems...)
}

// checkHandshake holds routes, identity rules, URLs and what is sealed of a
// handshake against what is asked of those in the configuration.
func (c *Config) checkHandshake(h relay.Handshake) []relay.Violation {
	return slices.Concat(checkRules(h.Organizations), checkMoreDestinations(h.Destinations), c.checkMoreRoutes(h.Routes), checkSealed(h.Credentials))
}

func checkRules(organizations map[string]relay.HandshakeOrganization) (found []relay.Violation) {
	for _, name := range slices.Sorted(maps.Keys(organizations)) {
		for n, r := range organizations[name].Rules {
			r.Organization = name
			if err := checkRule("the rule", r); err != nil {
				found = append(found, relay.Violation{Pointer: relay.JSONPointer("organizations", name, "rules", strconv.Itoa(n)), Message: err.Error()})
			}
		}
	}
	return found
}

func (c *Config) checkMoreRoutes(routes map[string]map[string]any) (found []relay.Violation) {
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		r, err := readRoute(name, routes[name])
		if err == nil {
			alone := *c
			alone.Routes = map[string]RouteConfig{name: r}
			err = alone.checkRoutes()
		}
		if err == nil && r.Latest != nil {
			err = fmt.Errorf("routes.%s.latest is for the configuration of the relay alone: it decides what the store remembers", name)
		}
		if err == nil {
			continue
		}
		for line := range strings.Lines(err.Error()) {
			found = append(found, relay.Violation{Pointer: relay.JSONPointer("routes", name), Message: strings.TrimSpace(line)})
		}
	}
	return found
}

// readRoute reads what a handshake says of one route, as the configuration is read.
func readRoute(name string, settings map[string]any) (r RouteConfig, err error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return r, fmt.Errorf("routes.%s: %w", name, err)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil || len(file.Docs) != 1 {
		return r, fmt.Errorf("routes.%s cannot be read", name)
	}
	check := &yamlCheck{path: "handshake"}
	check.value(file.Docs[0].Body, reflect.TypeFor[RouteConfig](), "routes."+name)
	for i, p := range check.problems {
		check.problems[i] = errors.New(strings.TrimPrefix(p.Error(), "handshake:1: "))
	}
	if err := errors.Join(check.problems...); err != nil {
		return r, err
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(), yaml.DisallowUnknownField()).Decode(&r); err != nil {
		return r, fmt.Errorf("routes.%s cannot be read", name)
	}
	return r, nil
}
