package handlers

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// The headers by which a client can hold to a rate before it is refused
// (draft-ietf-httpapi-ratelimit-headers-10): for each policy its quota in
// requests and its window in seconds; what is left, and in how many seconds
// there is more.
const (
	headerRatePolicy = "RateLimit-Policy"
	headerRateLimit  = "RateLimit"
)

// rateLimits are the policies that a request was held against.
type rateLimits struct{ policies, left []string }

func (l *rateLimits) add(name string, a relay.Allowance) {
	l.policies = append(l.policies, fmt.Sprintf("%q;q=%d;w=%d", name, a.Quota, seconds1(a.Window)))
	l.left = append(l.left, fmt.Sprintf("%q;r=%d;t=%d", name, a.Left, seconds1(max(a.Wait, a.Window/time.Duration(a.Quota)))))
}

func (l *rateLimits) write(h http.Header) {
	if len(l.policies) > 0 {
		h.Set(headerRatePolicy, strings.Join(l.policies, ", "))
		h.Set(headerRateLimit, strings.Join(l.left, ", "))
	}
}

// refuse is the answer where a rate is used up.
func (l *rateLimits) refuse(c echo.Context, wait time.Duration, what string) error {
	l.write(c.Response().Header())
	return &relay.Error{Code: relay.CodeTooManyRequests, RetryAfter: wait, Detail: what + "; nothing was stored, send it again later"}
}

// seconds1 rounds up to whole seconds, one at least.
func seconds1(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
