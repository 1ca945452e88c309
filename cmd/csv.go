package cmd

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// writeCSV writes structs as RFC 4180 has it: the columns are the fields under
// their JSON names, whatever a row leaves empty; what is no plain value is JSON.
func writeCSV[T any](w io.Writer, rows []T, header bool) error {
	out := csv.NewWriter(w)
	t := reflect.TypeFor[T]()
	if header {
		if err := out.Write(csvNames(t)); err != nil {
			return err
		}
	}
	for _, row := range rows {
		line, err := csvCells(reflect.ValueOf(row))
		if err != nil {
			return err
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func csvNames(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			names = append(names, csvNames(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func csvCells(v reflect.Value) (cells []string, err error) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			more, err := csvCells(v.Field(i))
			if err != nil {
				return nil, err
			}
			cells = append(cells, more...)
			continue
		}
		cell, err := csvCell(v.Field(i))
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	return cells, nil
}

// csvCell is the value as JSON has it; a string without its quotes, nothing
// for null.
func csvCell(v reflect.Value) (string, error) {
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return "", err
	}
	var s string
	switch {
	case string(text) == "null":
		return "", nil
	case text[0] == '"' && json.Unmarshal(text, &s) == nil:
		return s, nil
	}
	return string(text), nil
}
