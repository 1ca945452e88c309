package relay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a handshake; those of its members are in its schema
// (schemas/handshake.json).
const (
	MaxHandshake              = 1 << 20 // bytes of the document
	MaxHandshakeOrganizations = 1000    // with those that the relay has besides
	// MaxHandshakeQueues are of all organizations at Foreman and the document's
	// destinations: each costs the store files and memory.
	MaxHandshakeQueues = 2000
)

// HandshakeVersion is the one form of the document.
const HandshakeVersion = 1

// Handshake is what Foreman wants the relay to know, in one document: it replaces
// the one before as a whole.
type Handshake struct {
	Version       int                              `json:"version"`
	Organizations map[string]HandshakeOrganization `json:"organizations,omitempty"` // by title
	Destinations  map[string]HandshakeDestination  `json:"destinations,omitempty"`  // by name
	Routes        map[string]map[string]any        `json:"routes,omitempty"`        // as `routes` of the configuration
	Credentials   []SealedCredential               `json:"credentials,omitempty"`
}

// HandshakeOrganization is an organization as Foreman wants it; what is not given
// is what the configuration has for all.
type HandshakeOrganization struct {
	ForemanID int64             `json:"foreman_id,omitempty"`
	Enabled   *bool             `json:"enabled,omitempty"` // nil: as it is; a new one is on
	Why       string            `json:"why,omitempty"`     // it is off
	Rules     []IdentityRule    `json:"rules,omitempty"`
	Quota     OrganizationQuota `json:"quota,omitzero"`
	Rate      OrganizationRate  `json:"rate,omitzero"`
	Weight    int               `json:"weight,omitempty"`
	Sealed    bool              `json:"sealed,omitempty"`
}

// HandshakeDestination is where messages of some organizations go.
type HandshakeDestination struct {
	URL           string   `json:"url,omitempty"`
	Organizations []string `json:"organizations,omitempty"`
}

// SealedCredential can be read by the drain of its destination alone.
type SealedCredential struct {
	Organization string `json:"organization"`
	Destination  string `json:"destination"`
	Sealed       string `json:"sealed"` // a file of age: its text form, or the file in base64; what is in it: docs/handshake.md
}

// HandshakeRecord is what is stored of it.
type HandshakeRecord struct {
	Revision uint64    `json:"revision"` // counts the documents, from 1; 0: there was none
	Document Handshake `json:"document"`
	// Pending are the organizations that are not yet as the document has them; those
	// that it does not name are to be switched off.
	Pending []string `json:"pending,omitempty"`
}

// Handshakes keeps the one document for all edges. Writers say which revision of
// the store they have seen: CodeConflict when another was faster.
type Handshakes interface {
	Organizations
	// Handshake is the record, and the store's revision of it; zero: there is none.
	Handshake(ctx context.Context) (HandshakeRecord, uint64, error)
	PutHandshake(ctx context.Context, r HandshakeRecord, revision uint64) (uint64, error)
}

// The names are those that queues may have (package broker).
const maxOrganizationName = 255

var destinationName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Check says what a schema cannot: each violation names its place, and repeats
// nothing of what is sealed, or should be.
func (h Handshake) Check() (found []Violation) {
	say := func(message string, tokens ...string) {
		found = append(found, Violation{Pointer: JSONPointer(tokens...), Message: message})
	}
	for _, name := range slices.Sorted(maps.Keys(h.Organizations)) {
		if name == "" || len(name) > maxOrganizationName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			say("the name "+quoteShort(name)+" is not taken: use 1 to 255 bytes without control characters", "organizations")
		}
	}
	if len(h.Organizations[OrganizationOfSubject].Rules) > 0 { // they would lead to any
		say("an organization of this name can have no rules: in a rule the name means the certificate's own", "organizations", OrganizationOfSubject, "rules")
	}
	for _, name := range slices.Sorted(maps.Keys(h.Destinations)) {
		if !destinationName.MatchString(name) {
			say("the name "+quoteShort(name)+" is not taken: use 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit", "destinations")
		}
		for _, o := range h.Destinations[name].Organizations {
			if _, ok := h.Organizations[o]; !ok {
				say("the document has no organization "+quoteShort(o), "destinations", name, "organizations")
			}
		}
	}
	seen := map[[2]string]bool{}
	for _, c := range h.Credentials {
		at := []string{"credentials", c.Organization, c.Destination}
		if _, ok := h.Organizations[c.Organization]; !ok {
			say("the document has no such organization", at...)
		}
		if seen[[2]string{c.Organization, c.Destination}] {
			say("there are two of these; give one", at...)
		}
		seen[[2]string{c.Organization, c.Destination}] = true
		switch file, sealed := c.File(); {
		case !sealed:
			say("this is not sealed: the relay takes no password or key that it could read. Seal it with age to the key of the drain of this destination", at...)
		case base64.StdEncoding.EncodedLen(len(file)) > MaxSealed: // as every message has it
			say("what is sealed has more than "+strconv.Itoa(MaxSealed)+" bytes in base64", at...)
		}
		if d := h.Destinations[c.Destination]; strings.HasPrefix(strings.ToLower(d.URL), "http:") {
			say("credentials are not sent over plain HTTP: give the destination its https:// URL", at...)
		}
	}
	return found
}

func quoteShort(s string) string {
	text, _ := json.Marshal(Excerpt([]byte(s))) //nolint:errchkjson // a string always can be
	return string(text)
}

// How a file of age begins: as text (PEM), and as it is.
const (
	armoredAge = "-----BEGIN AGE ENCRYPTED FILE-----"
	armoredEnd = "-----END AGE ENCRYPTED FILE-----"
	plainAge   = "age-encryption.org/v1\n"
)

// File is the file of age; false where it is not a whole one as far as its form
// tells.
func (c SealedCredential) File() ([]byte, bool) {
	text := strings.TrimSpace(c.Sealed)
	if inner, ok := strings.CutPrefix(text, armoredAge); ok {
		if inner, ok = strings.CutSuffix(inner, armoredEnd); !ok {
			return nil, false
		}
		text = strings.Join(strings.Fields(inner), "")
	}
	file, err := base64.StdEncoding.DecodeString(text)
	return file, err == nil && strings.HasPrefix(string(file), plainAge+"-> ")
}

// sealed are the credentials as messages carry them (Message.Sealed), by queue.
func (h Handshake) sealed() map[Queue]string {
	all := map[Queue]string{}
	for _, c := range h.Credentials {
		if file, ok := c.File(); ok {
			all[Queue{Organization: c.Organization, Destination: c.Destination}] = base64.StdEncoding.EncodeToString(file)
		}
	}
	return all
}

// Serves says whether an organization may use a destination: those that the
// document names, or all where it names none.
func (d HandshakeDestination) Serves(organization string) bool {
	return len(d.Organizations) == 0 || slices.Contains(d.Organizations, organization)
}

// notShown stands for what is sealed, where the document is shown.
const notShown = "(kept back)"

// Shown is the document without what is sealed.
func (h Handshake) Shown() Handshake {
	h.Credentials = slices.Clone(h.Credentials)
	for i := range h.Credentials {
		h.Credentials[i].Sealed = notShown
	}
	return h
}
