package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// SmartProxyOptions are what the edge is to Foreman: one of its smart proxies.
type SmartProxyOptions struct {
	Features []string // what it says it can do, as Foreman knows it in lower case; may be empty
	Version  string
	TLS      bool // the listener speaks HTTPS, else HTTP
	Trust    Trust
	// Loopback: only this machine reaches the edge. Elsewhere the log, which tells
	// of every organization, is shown to nobody unless Trust.Hosts says to whom.
	Loopback bool
	Log      *ProxyLog // nil: one of its own
}

// smartProxy answers Foreman as its smart proxies do, byte for byte.
type smartProxy struct{ SmartProxyOptions }

// smartProxyPaths are its own, and what lies below them.
var smartProxyPaths = [...]string{"/features", "/v2/features", "/version", "/logs", "/features/*", "/v2/*", "/version/*", "/logs/*"}

// logsFeature is the module whose answer GET /logs is.
const logsFeature = "logs"

// addSmartProxy adds the protocol, and has what is refused noted in its log.
func (e *Edge) addSmartProxy() {
	p := &smartProxy{e.SmartProxy}
	p.Features = slices.Sorted(slices.Values(p.Features))
	if p.Log == nil {
		p.Log = NewProxyLog(e.Now)
	}
	for _, path := range smartProxyPaths {
		e.echo.Any(path, notFound)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		e.echo.Add(method, "/features", p.features)
		e.echo.Add(method, "/version", p.version)
		e.echo.Add(method, "/v2/features", p.trusting(p.featuresV2))
		if slices.Contains(p.Features, logsFeature) {
			e.echo.Add(method, "/logs", p.trusting(p.logs))
		}
	}
	e.echo.Use(p.note)
}

// note writes down what is refused, but for paths that do not exist: whoever
// looks for holes would fill the log with them.
func (p *smartProxy) note(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		var refused *relay.Error
		if errors.As(err, &refused) && c.Request().Context().Err() == nil {
			p.Log.Add(levelOf(refused.Code), requestID(c), "refused "+c.Request().Method+" "+c.Path()+" ("+string(refused.Code)+"): "+detailOf(refused))
		}
		return err
	}
}

// levelOf is that of a refusal. Only what the relay is to blame for is an error:
// those are kept longer, and an outage refuses many requests.
func levelOf(code relay.Code) Level {
	if code == relay.CodeInternal {
		return LevelError
	}
	return LevelWarn
}

// detailOf is what the client was told; what it was not told stays in the
// relay's own log.
func detailOf(e *relay.Error) string {
	if e.Code == relay.CodeInternal {
		return statuses[relay.CodeInternal].title
	}
	return e.Detail
}

// trusting lets only those ask who may.
func (p *smartProxy) trusting(h echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if why := p.Trust.refusal(c.Request(), callerOf(c)); why != "" {
			p.Log.Add(LevelWarn, requestID(c), why)
			return rubyText(c, http.StatusForbidden, why)
		}
		return h(c)
	}
}

func (p *smartProxy) features(c echo.Context) error { return rubyJSON(c, orNone(p.Features)) }

// orNone is never null: Foreman takes null for an answer that is none.
func orNone(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

func (p *smartProxy) version(c echo.Context) error {
	modules := map[string]string{}
	for _, name := range p.Features {
		modules[name] = p.Version
	}
	return rubyJSON(c, struct {
		Version string            `json:"version"`
		Modules map[string]string `json:"modules"`
	}{p.Version, modules})
}

// module is one feature as GET /v2/features tells it.
type module struct {
	HTTP         bool           `json:"http_enabled"`
	HTTPS        bool           `json:"https_enabled"`
	Settings     map[string]any `json:"settings"` // exposed ones: none
	State        string         `json:"state"`
	Capabilities []string       `json:"capabilities"`
}

func (p *smartProxy) featuresV2(c echo.Context) error {
	modules := map[string]module{}
	for _, name := range p.Features {
		modules[name] = module{HTTP: !p.TLS, HTTPS: p.TLS, Settings: map[string]any{}, State: "running", Capabilities: []string{}}
	}
	return rubyJSON(c, modules)
}

// logInfo says how much the log holds.
type logInfo struct {
	Size    int               `json:"size"`
	Tail    int               `json:"tail_size"`
	Level   *int              `json:"level"` // a smart proxy never sets it
	Longer  int               `json:"level_tail"`
	Modules map[string]string `json:"failed_modules"`
}

func (p *smartProxy) logs(c echo.Context) error {
	return rubyJSON(c, struct {
		Info logInfo    `json:"info"`
		Logs []logEntry `json:"logs"`
	}{logInfo{Size: proxyLogSize, Tail: proxyLogTail, Longer: tailLevelRuby, Modules: map[string]string{}}, p.shown(parseFrom(c.QueryParam("from_timestamp")))})
}

// shown are the entries for a caller who may ask.
func (p *smartProxy) shown(from float64) []logEntry {
	if p.Loopback || p.Trust.Hosts != nil {
		return p.Log.since(from)
	}
	return []logEntry{{Timestamp: rubyTime(p.Log.now()), Level: LevelWarn,
		Message: "the log is shown to nobody: name Foreman in smart_proxy.trusted_hosts of the relay's configuration"}}
}

// notFound is a smart proxy's answer for what it does not have.
func notFound(c echo.Context) error {
	return rubyText(c, http.StatusNotFound, "Requested url was not found")
}

// rubyJSON answers as Ruby writes JSON: nothing escaped for HTML, no line break.
func rubyJSON(c echo.Context, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

// rubyText is an error: plain text that calls itself JSON.
func rubyText(c echo.Context, status int, text string) error {
	return c.Blob(status, echo.MIMEApplicationJSON, []byte(text))
}
