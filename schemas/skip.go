package schemas

// skip reads one value and keeps nothing. It holds no stack but of the kinds of
// the containers that are open.
func (r *reader) skip() bool {
	var open []byte // closing brackets
	for {
		closed, ok := r.begin(&open)
		if !ok {
			return false
		}
		for closed {
			if len(open) == 0 {
				return true
			}
			closing := open[len(open)-1]
			more, ok := r.next(closing)
			if !ok {
				return false
			}
			if more {
				closed = false
				if closing == '}' && !r.name() {
					return false
				}
				continue
			}
			r.depth--
			open = open[:len(open)-1]
		}
	}
}

// begin reads a scalar or an empty container, which is closed then, or enters a
// container up to its first value.
func (r *reader) begin(open *[]byte) (closed, ok bool) {
	switch c := r.peek(); c {
	case '{', '[':
		if !r.enter() {
			return false, false
		}
		closing := c + 2 // in ASCII: '{' '}' and '[' ']'
		if !r.open(closing) {
			r.depth--
			return true, r.problem == ""
		}
		*open = append(*open, closing)
		return false, closing == ']' || r.name()
	case '"':
		return true, r.string()
	case 't':
		return true, r.word("true")
	case 'f':
		return true, r.word("false")
	case 'n':
		return true, r.word("null")
	default:
		return true, r.number()
	}
}

func (r *reader) enter() bool {
	if r.depth++; r.depth > maxDepth {
		r.problem = "exceeded the maximum depth"
		return false
	}
	return true
}

// open reads an opening bracket; false when the container is empty.
func (r *reader) open(closing byte) bool {
	r.at++
	r.space()
	if r.peek() == closing {
		r.at++
		return false
	}
	return true
}

// next reads what follows a value: a comma, and there is more, or the end.
func (r *reader) next(closing byte) (more, ok bool) {
	r.space()
	switch r.peek() {
	case ',':
		r.at++
		r.space()
		return true, true
	case closing:
		r.at++
		return false, true
	}
	return false, r.fail("after a value")
}

// name reads the name of a member and its colon.
func (r *reader) name() bool {
	if r.peek() != '"' {
		return r.fail("looking for the name of a member")
	}
	return r.string() && r.colon()
}

func (r *reader) colon() bool {
	r.space()
	if r.peek() != ':' {
		return r.fail("after the name of a member")
	}
	r.at++
	r.space()
	return true
}

func (r *reader) word(w string) bool {
	for i := range len(w) {
		if r.peek() != w[i] {
			return r.fail("in the word " + w)
		}
		r.at++
	}
	return true
}

func (r *reader) string() bool {
	text := r.text
	for i := r.at + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			r.at = i + 1
			return true
		case c < ' ':
			r.at = i
			return r.fail("in a string")
		case c == '\\':
			i++
			n := escapeLength(text[i:])
			if n == 0 {
				r.at = i
				return r.fail("in an escape of a string")
			}
			i += n - 1
		}
	}
	r.at = len(text)
	return r.fail("")
}

// escapeLength is how long an escape is behind its backslash; 0: it is none.
func escapeLength(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(b) >= 5 && hex(b[1]) && hex(b[2]) && hex(b[3]) && hex(b[4]) {
			return 5
		}
	}
	return 0
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (r *reader) number() bool {
	if r.peek() == '-' {
		r.at++
	}
	switch c := r.peek(); {
	case c == '0':
		r.at++
	case !r.digits():
		return r.fail("looking for a value")
	}
	if r.peek() == '.' {
		r.at++
		if !r.digits() {
			return r.fail("after the point of a number")
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		r.at++
		if c := r.peek(); c == '+' || c == '-' {
			r.at++
		}
		if !r.digits() {
			return r.fail("in the exponent of a number")
		}
	}
	return true
}

func (r *reader) digits() bool {
	from := r.at
	for c := r.peek(); '0' <= c && c <= '9'; c = r.peek() {
		r.at++
	}
	return r.at > from
}
