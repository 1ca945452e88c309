package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Sender is who a request comes from.
type Sender struct {
	Name         string   `json:"name"`            // the certificate's CN, or its first DNS name; empty: nobody said
	Names        []string `json:"names,omitempty"` // all DNS names, lower-cased, the CN among them
	Fingerprint  string   `json:"fingerprint,omitempty"`
	Organization string   `json:"organization"`
	SpeaksFor    Hosts    `json:"-"`
}

// maxSenderName is more than a name has that anybody needs, in bytes: a longer
// one is cut where it is shown.
const maxSenderName = 255

// String is the sender as it travels with a message: its name, and the
// fingerprint where there was a certificate. Empty: nobody said.
func (s Sender) String() string {
	name := s.Name
	if len(name) > maxSenderName {
		name = strings.ToValidUTF8(name[:maxSenderName], "")
	}
	if s.Fingerprint == "" {
		return name
	}
	return strings.TrimSpace(name + " sha256:" + s.Fingerprint)
}

// Credential is what a caller has shown of itself, and what of its certificate
// the rules look at. A field that is there twice is as good as none: nobody can
// tell which of the two is meant.
type Credential struct {
	Fingerprint  string   // SHA-256, hexadecimal
	Issuers      []string // subjects of the CAs that are trusted and vouch for it, as RFC 2253 writes them
	Organization string   // the subject's one O
	CN           string   // the subject's one CN
	DNSNames     []string
	URIs         []string
}

// Names are all host names that the certificate is for.
func (c Credential) Names() []string {
	var all []string
	for _, name := range append([]string{c.CN}, c.DNSNames...) {
		if h, ok := HostName(name); ok && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}

// IdentityRule maps certificates to an organization: all that is set must be
// true of one. The first rule that matches counts; one with nothing set matches
// every certificate. In a pattern a * stands for any characters, or none.
type IdentityRule struct {
	Fingerprint string `json:"fingerprint,omitempty" yaml:"fingerprint"` // SHA-256 of the certificate, hex
	Issuer      string `json:"issuer,omitempty" yaml:"issuer"`           // subject of the issuing CA, as RFC 2253 writes it
	SubjectO    string `json:"subject_o,omitempty" yaml:"subject_o"`     // pattern
	SAN         string `json:"san,omitempty" yaml:"san"`                 // pattern of a URI or DNS name
	CN          string `json:"cn,omitempty" yaml:"cn"`                   // pattern
	// Organization is a name; "subject_o" in its place takes the certificate's O.
	Organization string `json:"organization" yaml:"organization"`
	SpeaksFor    Hosts  `json:"speaks_for,omitempty" yaml:"speaks_for"` // empty: own
}

// OrganizationOfSubject is the Organization of a rule that takes the O.
const OrganizationOfSubject = "subject_o"

// Identify is the sender of a credential by the first rule that takes it; false
// when none does.
func Identify(rules []IdentityRule, c Credential) (Sender, bool) {
	for _, r := range rules {
		if organization, ok := r.takes(c); ok {
			return c.sender(organization, r.SpeaksFor), true
		}
	}
	return Sender{}, false
}

func (c Credential) sender(organization string, speaksFor Hosts) Sender {
	s := Sender{Name: c.CN, Names: c.Names(), Fingerprint: c.Fingerprint, Organization: organization, SpeaksFor: speaksFor}
	if s.Name == "" && len(c.DNSNames) > 0 {
		s.Name = c.DNSNames[0]
	}
	if s.SpeaksFor == "" {
		s.SpeaksFor = HostsOwn
	}
	return s
}

// takes says whether a rule takes a credential, and for which organization.
func (r IdentityRule) takes(c Credential) (organization string, ok bool) {
	switch {
	case r.Fingerprint != "" && NormalFingerprint(r.Fingerprint) != c.Fingerprint,
		r.Issuer != "" && !slices.Contains(c.Issuers, r.Issuer),
		r.SubjectO != "" && (c.Organization == "" || !like(r.SubjectO, c.Organization)),
		r.SAN != "" && !r.takesSAN(c),
		r.CN != "" && (c.CN == "" || !like(strings.ToLower(r.CN), strings.ToLower(c.CN))):
		return "", false
	case r.Organization == OrganizationOfSubject:
		return c.Organization, c.Organization != ""
	}
	return r.Organization, true
}

// Problems are what is wrong with what a rule sets, whatever it maps to.
func (r IdentityRule) Problems() []error {
	var problems []error
	if print, err := hex.DecodeString(NormalFingerprint(r.Fingerprint)); r.Fingerprint != "" && (err != nil || len(print) != sha256.Size) {
		problems = append(problems, fmt.Errorf("fingerprint is %q; write a SHA-256 in hexadecimal (openssl x509 -noout -fingerprint -sha256)", r.Fingerprint))
	}
	if err := r.SpeaksFor.Check(); err != nil {
		problems = append(problems, fmt.Errorf("speaks_for: %w", err))
	}
	return problems
}

// takesSAN: a URI tells upper from lower case, a DNS name does not.
func (r IdentityRule) takesSAN(c Credential) bool {
	return slices.ContainsFunc(c.URIs, func(u string) bool { return like(r.SAN, u) }) ||
		slices.ContainsFunc(c.DNSNames, func(n string) bool { return like(strings.ToLower(r.SAN), strings.ToLower(n)) })
}

// NormalFingerprint is a SHA-256 in lower-case hexadecimal digits, without the
// colons that tools put between them.
func NormalFingerprint(s string) string { return strings.ToLower(strings.ReplaceAll(s, ":", "")) }

// like holds a text against a pattern, in time that grows with their lengths.
func like(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, last)
}
