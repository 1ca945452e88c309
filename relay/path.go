package relay

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// CheckPath says why a message's path, without its query, cannot be asked for at
// a destination: it must be percent-encoded, begin with one slash, and never
// lead to another host or out of the path that the destination is below.
func CheckPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return fmt.Errorf("path %q does not begin with one slash", path)
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return fmt.Errorf("path %q: %w", path, err)
	}
	if slices.ContainsFunc(strings.Split(plain, "/"), func(part string) bool { return part == "." || part == ".." }) {
		return fmt.Errorf("path %q has dots for a part", path)
	}
	return nil
}
