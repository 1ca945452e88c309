package foreman

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// DefaultFeatures are what a relay announces unless told otherwise: its log.
func DefaultFeatures() []string { return []string{"logs"} }

// notRelayed are features that Foreman or a plugin of it knows and that the
// relay must not announce: Foreman would ask it for what it cannot do. By name,
// with the reason.
var notRelayed = map[string]string{
	"tftp": notHere, "dns": notHere, "dhcp": notHere, "puppetca": notHere, "bmc": notHere, "realm": notHere,
	"httpboot": notHere, "externalipam": notHere, "pulpcore": notHere, "container_gateway": notHere, "script": notHere, "ssh": notHere,
	"facts":        "Foreman would ask it for facts of its machine",
	"dynflow":      "Foreman would give it tasks to run; the relay only carries their callbacks",
	"openscap":     "Foreman would ask it for stored reports; the relay only carries new ones",
	"templates":    "Foreman would ask it for its own address and write that into every template",
	"registration": "Foreman would send hosts to it that its script then sends past it",
}

const notHere = "the relay does nothing of this"

// maxFeatures bounds how many features are announced, maxFeatureName the bytes
// of one name.
const (
	maxFeatures    = 32
	maxFeatureName = 64
)

// CheckFeatures says what is wrong with the names of features that are to be
// announced. Names that nobody is known to have are taken: a plugin may.
func CheckFeatures(names []string) error {
	if len(names) > maxFeatures {
		return fmt.Errorf("%d features; at most %d can be announced", len(names), maxFeatures)
	}
	var problems []error
	for i, name := range names {
		problems = append(problems, checkFeature(name))
		if slices.Contains(names[:i], name) {
			problems = append(problems, fmt.Errorf("%q is there twice", name))
		}
	}
	return errors.Join(problems...)
}

func checkFeature(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789_"
	switch why, known := notRelayed[name]; {
	case name == "" || strings.Trim(name, letters) != "" || len(name) > maxFeatureName:
		return fmt.Errorf("%q is no name of a feature: write it as smart proxies do, lower case and without blanks, at most %d characters, like logs", name, maxFeatureName)
	case known:
		return fmt.Errorf("%q must not be announced: %s", name, why)
	}
	return nil
}
