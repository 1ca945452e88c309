package foreman

import (
	"encoding/json"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// Classify judges an answer of Foreman, or of what stands in its place.
//
// A 2xx without Foreman's version header is not Foreman (a maintenance page, a
// captive portal); neither is any other answer that is not JSON and has no such
// header, but for 401, 403 and 413, which Apache gives in its name.
//
// What else a status means for a message of a route is in the table of verdicts.
func Classify(route string, a relay.Answer, now time.Time) relay.Result {
	if a.Err != nil {
		return relay.ClassifyError(a)
	}
	r := relay.ClassifyHTTP(a, now)
	if verdicts[route].plain {
		return unattended(r, a)
	}
	if a.Status < 200 || a.Status > 299 {
		r.Detail = relay.Excerpt([]byte(complaint(a.Body)))
	}
	switch {
	case a.Status >= 200 && a.Status <= 299:
		if !hasVersion(a.Header) {
			return notForeman(r)
		}
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusRequestEntityTooLarge:
	case a.Status >= 300 && a.Status <= 499 && r.Class == relay.ClassRejected && !isForeman(a):
		return notForeman(r)
	case a.Status == http.StatusUnprocessableEntity:
		return unprocessable(route, r, a.Body)
	}
	return r
}

func notForeman(r relay.Result) relay.Result {
	r.Class, r.Reason, r.Confirmed = relay.ClassUnavailable, relay.ReasonNotForeman, relay.ClassTransient
	return r
}

// hasVersion: every answer of Foreman's API carries one of these headers.
func hasVersion(h http.Header) bool {
	return h.Get("Foreman_version") != "" || h.Get("Foreman_api_version") != ""
}

func isForeman(a relay.Answer) bool {
	if hasVersion(a.Header) {
		return true
	}
	media, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return err == nil && strings.HasSuffix(media, "json") && json.Valid(a.Body)
}

// unprocessable tells the three kinds of 422 apart: a duplicate is a delivery,
// what can change with time is tried slowly, and the rest is refused for ever.
func unprocessable(route string, r relay.Result, body []byte) relay.Result {
	v, text := verdicts[route], strings.ToLower(r.Detail)
	switch {
	case isDuplicate(body):
		r.Class, r.Reason, r.Detail = relay.ClassAlready, relay.ReasonAlreadyThere, ""
	case slices.ContainsFunc(v.later, func(part string) bool { return strings.Contains(text, part) }):
		r.Class, r.Reason = relay.ClassNotReady, relay.ReasonNotReady
	}
	return r
}

const alreadyTaken = "has already been taken" // app/models/report.rb: reported_at is unique by host and type

// isDuplicate: the only thing wrong is that reported_at is taken.
func isDuplicate(body []byte) bool {
	var report struct {
		Error struct {
			Errors map[string][]string `json:"errors"`
		} `json:"error"`
		Errors any `json:"errors"` // the form of ARF reports
	}
	if json.Unmarshal(body, &report) != nil {
		return false
	}
	if text, ok := report.Errors.(string); ok {
		return text == "Reported at "+alreadyTaken
	}
	taken := report.Error.Errors["reported_at"]
	return len(report.Error.Errors) == 1 && len(taken) == 1 && taken[0] == alreadyTaken
}

// complaint is the text that Foreman means in its various error documents; the
// whole body where it is none of them.
func complaint(body []byte) string {
	var doc struct {
		Message string          `json:"message"`
		Errors  any             `json:"errors"`
		Error   json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return string(body)
	}
	if doc.Message != "" {
		return doc.Message
	}
	if text, ok := doc.Errors.(string); ok {
		return text
	}
	var text string
	if json.Unmarshal(doc.Error, &text) == nil && text != "" {
		return text
	}
	var inner struct {
		Message      string   `json:"message"`
		FullMessages []string `json:"full_messages"`
	}
	if json.Unmarshal(doc.Error, &inner) == nil {
		if inner.Message != "" {
			return inner.Message
		}
		if len(inner.FullMessages) > 0 {
			return strings.Join(inner.FullMessages, "; ")
		}
	}
	return string(body)
}
