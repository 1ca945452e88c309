package handlers

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// reply is what the route's client needs to be told; the headers are those of
// every receipt.
func reply(c echo.Context, to relay.Reply, r relay.Receipt) error {
	h := c.Response().Header()
	h.Set("Location", r.Location)
	h.Set("Relay-Message-Id", r.ID)
	if r.Replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	switch to.Body {
	case relay.ReplyTaskID:
		return c.JSON(to.Status, map[string]string{"task_id": relay.UUID(r.ID)})
	case relay.ReplyProcessing:
		return c.JSON(to.Status, map[string]string{"message": "processing"})
	case relay.ReplyReportID:
		return c.JSON(to.Status, map[string]string{"result": "ok", "id": relay.Digits(r.ID)})
	default:
		return c.JSON(to.Status, r)
	}
}

// publicStatus is what anybody who has a message's id may see of it.
type publicStatus struct {
	ID          string      `json:"id"`
	State       relay.State `json:"state"`
	AcceptedAt  *time.Time  `json:"accepted_at,omitempty"`
	Attempts    int         `json:"attempts"`
	NextAttempt *time.Time  `json:"next_attempt,omitempty"`
	Reason      string      `json:"reason,omitempty"`
	ReplacedBy  string      `json:"replaced_by,omitempty"`
	NotBefore   *time.Time  `json:"not_before,omitempty"`
	Expires     *time.Time  `json:"expires,omitempty"`
}

func (e *Edge) status(c echo.Context) error {
	id := c.Param("id")
	token, _, ok := relay.ParseID(id)
	if !ok {
		return relay.Refuse(relay.CodeNotFound, "there is no such message: this is not an id of a relay's")
	}
	who, err := e.speaker(c, false)
	if err != nil {
		return err
	}
	if who.held && e.foreign(c, who, e.queueOf(token)) {
		return noMessage(id)
	}
	s, err := e.Intake.Message(c.Request().Context(), id)
	if relay.CodeOf(err) == relay.CodeNotFound {
		return noMessage(id) // in the same words, whatever is not there
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, publicStatus{s.ID, s.State, s.AcceptedAt, s.Attempts, s.NextAttempt, s.Reason, s.ReplacedBy, s.NotBefore, s.Expires})
}

// queueOf is the queue of a token; of nobody's where there is none.
func (e *Edge) queueOf(token string) relay.Queue {
	if e.QueueOf == nil {
		return relay.Queue{}
	}
	q, _ := e.QueueOf(token)
	return q
}

func noMessage(id string) error {
	return relay.Refuse(relay.CodeNotFound, "there is no message %q, or it was settled so long ago that its record is gone", id)
}
