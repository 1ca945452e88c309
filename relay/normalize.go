package relay

import (
	"regexp"
	"strings"
)

// What differs in error texts from one message to the next, in the order in
// which it is looked for; what stands in its place says what it was.
var varying = [...]struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?`), "<time>"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "<uuid>"},
	{regexp.MustCompile(`(?i)\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{0,4}\b|\b(?:[0-9a-f]{1,4}:)+:(?:[0-9a-f]{1,4}:?)*`), "<address>"},
	{regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b`), "<address>"},
	{regexp.MustCompile(`(?i)\b[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\.[a-z]{2,}\b`), "<host>"},
	{regexp.MustCompile(`(?i)\b(?:0x[0-9a-f]+|[0-9a-f]*[0-9][0-9a-f]*[a-f][0-9a-f]*|[0-9a-f]*[a-f][0-9a-f]*[0-9][0-9a-f]*)\b`), "<hex>"},
	{regexp.MustCompile(`\d+`), "<n>"},
}

// quoted are texts in quotes: "so", 'so' and Ruby's `so'. What comes before and
// behind tells a quote from an apostrophe.
var quoted = regexp.MustCompile("(^|[^\\pL\\pN])(?:\"((?:[^\"\\\\]|\\\\.)*)\"|['`]([^'`]*)')(:?)")

// maxNormalized bounds a normalized text, in bytes.
const maxNormalized = 200

// Normalize is an error's text without what differs from one message to the
// next: digits, hexadecimal words, UUIDs, times, addresses, host names and
// quoted words. A quoted sentence, or the name of a member in JSON, is kept.
// host is the message's own, whatever it looks like.
func Normalize(text, host string) string {
	if host != "" {
		text = replaceWord(text, host, "<host>")
	}
	text = quoted.ReplaceAllStringFunc(text, func(s string) string {
		p := quoted.FindStringSubmatch(s)
		inside := p[2] + p[3]
		if p[4] != "" || strings.Contains(strings.TrimSpace(inside), " ") {
			return s
		}
		return p[1] + "<quoted>" + p[4]
	})
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.stands)
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxNormalized {
		text = cutText(text, maxNormalized)
	}
	return text
}

// replaceWord replaces a word wherever it stands alone, in any case.
func replaceWord(text, word, by string) string {
	var out strings.Builder
	lower := strings.ToLower(text)
	if len(lower) != len(text) { // a letter whose lower case has another length
		lower = text
	}
	word = strings.ToLower(word)
	for {
		i := strings.Index(lower, word)
		if i < 0 {
			out.WriteString(text)
			return out.String()
		}
		end := i + len(word)
		out.WriteString(text[:i])
		if joined(lower, i-1, -1) || joined(lower, end, 1) {
			out.WriteString(text[i:end])
		} else {
			out.WriteString(by)
		}
		text, lower = text[end:], lower[end:]
	}
}

// joined says whether the byte at i belongs to the same word; a dot does, where
// the word goes on behind it.
func joined(s string, i, step int) bool {
	return wordByte(s, i) || i >= 0 && i < len(s) && s[i] == '.' && wordByte(s, i+step)
}

func wordByte(s string, i int) bool {
	if i < 0 || i >= len(s) {
		return false
	}
	c := s[i]
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '_' || c >= 0x80
}
