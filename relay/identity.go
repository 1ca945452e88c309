package relay

// Sender is who a request comes from.
type Sender struct {
	Name         string   `json:"name"`            // the certificate's CN, or its first DNS name; empty: nobody said
	Names        []string `json:"names,omitempty"` // all DNS names, lower-cased, the CN among them
	Fingerprint  string   `json:"fingerprint,omitempty"`
	Organization string   `json:"organization"`
	SpeaksFor    Hosts    `json:"-"`
}

// Hosts says for which hosts a sender may speak: HostsOwn, HostsAny, or a pattern
// of names.
type Hosts string

// The two that are no pattern.
const (
	HostsOwn Hosts = "own" // the names of its certificate
	HostsAny Hosts = "any" // a Puppet server, a smart proxy
)

// IdentityRule maps certificates to an organization: all that is set must be
// true of one. The first rule that matches counts.
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
