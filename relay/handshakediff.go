package relay

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Differences are between two documents: JSON pointers (RFC 6901), and no values.
// A credential is found below its organization and destination.
type Differences struct {
	Added   []string `json:"added"`
	Changed []string `json:"changed"`
	Removed []string `json:"removed"`
}

// None: the documents are the same.
func (d Differences) None() bool { return len(d.Added)+len(d.Changed)+len(d.Removed) == 0 }

// Below are those below one member of the document.
func (d Differences) Below(member string) (all []string) {
	for _, pointer := range slices.Concat(d.Added, d.Changed, d.Removed) {
		if pointer == "/"+member || strings.HasPrefix(pointer, "/"+member+"/") {
			all = append(all, pointer)
		}
	}
	slices.Sort(all)
	return all
}

// Differences says what is otherwise in the next document.
func (h Handshake) Differences(next Handshake) (Differences, error) {
	d := Differences{Added: []string{}, Changed: []string{}, Removed: []string{}}
	before, err := h.tree()
	if err != nil {
		return d, err
	}
	after, err := next.tree()
	if err != nil {
		return d, err
	}
	d.compare("", before, after)
	for _, list := range [][]string{d.Added, d.Changed, d.Removed} {
		slices.Sort(list)
	}
	return d, nil
}

// tree is the document as JSON has it, with the credentials by their names and
// every organization, destination and route even where it sets nothing.
func (h Handshake) tree() (map[string]any, error) {
	list := h.Credentials
	h.Credentials = nil
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("write a handshake down: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("read a handshake: %w", err)
	}
	delete(tree, "version") // there is one
	credentials := map[string]any{}
	for _, c := range list {
		of, ok := credentials[c.Organization].(map[string]any)
		if !ok {
			of = map[string]any{}
			credentials[c.Organization] = of
		}
		of[c.Destination] = c.Sealed
	}
	tree["credentials"] = credentials
	for _, member := range []string{"organizations", "destinations", "routes"} {
		if tree[member] == nil {
			tree[member] = map[string]any{}
		}
	}
	return tree, nil
}

// compare goes as deep as both have members; a list is one value.
func (d *Differences) compare(at string, before, after map[string]any) {
	for name, was := range before {
		pointer := at + JSONPointer(name)
		is, kept := after[name]
		below, both := was.(map[string]any)
		now, bothStill := is.(map[string]any)
		switch {
		case !kept:
			d.Removed = append(d.Removed, pointer)
		case both && bothStill:
			d.compare(pointer, below, now)
		case !reflect.DeepEqual(was, is):
			d.Changed = append(d.Changed, pointer)
		}
	}
	for name := range after {
		if _, had := before[name]; !had {
			d.Added = append(d.Added, at+JSONPointer(name))
		}
	}
}

// JSONPointer leads to a member of a document (RFC 6901).
func JSONPointer(tokens ...string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(t))
	}
	return b.String()
}

// changedOrganizations are those that the documents have otherwise, by name.
func (h Handshake) changedOrganizations(next Handshake) (names []string) {
	for name, o := range next.Organizations {
		if was, had := h.Organizations[name]; !had || !reflect.DeepEqual(was, o) {
			names = append(names, name)
		}
	}
	for name := range h.Organizations {
		if _, kept := next.Organizations[name]; !kept {
			names = append(names, name)
		}
	}
	return names
}
