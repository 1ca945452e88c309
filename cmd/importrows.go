package cmd

import "github.com/theforeman/foreman-relay/relay"

// importedFile is a file that was taken, with its receipt.
type importedFile struct {
	File string `json:"file"`
	relay.Receipt
}

func importedListing() listing[importedFile] {
	return listing[importedFile]{name: func(f importedFile) string { return f.ID }, columns: []column[importedFile]{
		{header: "ID", cell: func(f importedFile) any { return f.ID }},
		{header: "STATE", cell: func(f importedFile) any { return f.State }},
		{header: "REPLAYED", cell: func(f importedFile) any { return f.Replayed }},
		{header: "DURABILITY", cell: func(f importedFile) any { return f.Durability }, wide: true},
		{header: "FILE", cell: func(f importedFile) any { return f.File }},
	}}
}

// plannedFile is a file that would be taken.
type plannedFile struct {
	File  string `json:"file"`
	Route string `json:"route"`
	Path  string `json:"path"`
	Bytes int    `json:"bytes"`
}

func plannedListing() listing[plannedFile] {
	return listing[plannedFile]{name: func(f plannedFile) string { return f.File }, columns: []column[plannedFile]{
		{header: "ROUTE", cell: func(f plannedFile) any { return f.Route }},
		{header: "BYTES", cell: func(f plannedFile) any { return f.Bytes }},
		{header: "PATH", cell: func(f plannedFile) any { return f.Path }, wide: true},
		{header: "FILE", cell: func(f plannedFile) any { return f.File }},
	}}
}

// rows are printed as they come where a row is a line of its own, so that they
// need no memory and are not lost; a table or one document is printed at the end.
type rows[T any] struct {
	out     *printer
	listing listing[T]
	kept    []T
}

func (r *rows[T]) add(row T) error {
	if r.out.format == asLines || r.out.format == asName {
		return list(r.out, []T{row}, r.listing)
	}
	r.kept = append(r.kept, row)
	return nil
}

func (r *rows[T]) end() error {
	if r.out.format == asLines || r.out.format == asName {
		return nil
	}
	return list(r.out, r.kept, r.listing)
}

// endIfAny is end, but prints nothing at all where there was no row.
func (r *rows[T]) endIfAny() error {
	if len(r.kept) == 0 {
		return nil
	}
	return r.end()
}
