// Package schemas says which request bodies are worth keeping. Its JSON Schemas
// (draft 2020-12) refuse only what Foreman would refuse for ever, such as a
// report without a host or with a time that nobody can read: Foreman answers
// those with 500 however often they are sent. Everything else passes, unknown
// members included, because a message refused here is lost to its sender.
//
// It promises the same violations in the same order for the same document, and
// never panics, whatever it is given. It never changes a document and imports
// nothing of this module.
package schemas

import (
	"embed"
	"slices"
)

// Names of the schemas.
const (
	AnsibleReport = "ansible_report"
	ARFReport     = "arf_report"
	Callback      = "callback"
	ConfigReport  = "config_report"
	Facts         = "facts"
	Handshake     = "handshake"
	HostReport    = "host_report"
	SaltJob       = "salt_job"
)

//go:embed *.json
var sources embed.FS

// Names lists the schemas, in alphabetical order.
func Names() []string {
	return []string{AnsibleReport, ARFReport, Callback, ConfigReport, Facts, Handshake, HostReport, SaltJob}
}

// Known tells whether there is a schema of this name.
func Known(name string) bool { return slices.Contains(Names(), name) }

// Source is the text of a schema, a copy that the caller may keep; nil when
// there is no schema of this name.
func Source(name string) []byte {
	if !Known(name) {
		return nil
	}
	text, err := sources.ReadFile(name + ".json")
	if err != nil {
		return nil // a name without its file: the tests would not pass
	}
	return text
}
