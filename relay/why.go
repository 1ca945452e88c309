package relay

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explanation is where one message stands, why, and what can be done, for
// people; the fields that it was written from are beside it, for machines.
type Explanation struct {
	ID      string   `json:"id"`
	State   State    `json:"state"`
	Stands  string   `json:"stands"`  // one sentence
	Because []string `json:"because"` // why it is not delivered yet, each enough by itself
	Blocked []string `json:"blocked"` // the same as words of BlockedBy
	Next    string   `json:"next"`    // what happens by itself, and when
	Do      []string `json:"do"`      // what an operator can do
	Case             // what is known
}

// Case is all that is known of one message.
type Case struct {
	Message MessageStatus `json:"message"`
	Queue   QueueStatus   `json:"queue"`
	// Ahead is the first pending message of the lane, where that is another one;
	// AheadCount is how many there are before this one.
	Ahead      *MessageSummary `json:"ahead,omitempty"`
	AheadCount int             `json:"ahead_count"`
}

// MaxAheadCounted bounds AheadCount.
const MaxAheadCounted = 1000

// What may keep a pending message from being delivered.
const (
	BlockedByPause   = "paused"
	BlockedByNoDrain = "no-drain"
	BlockedByCircuit = "circuit"
	BlockedByLane    = "lane"
	BlockedByWait    = "waiting"
	BlockedByBudget  = "budget"
	BlockedByTime    = "scheduled"
)

// Explain writes the explanation as of now.
func Explain(c Case, now time.Time) Explanation {
	e := Explanation{ID: c.Message.ID, State: c.Message.State, Case: c, Because: []string{}, Blocked: []string{}, Do: []string{}}
	e.Stands = c.stands()
	if c.Message.State.Settled() {
		e.explainSettled()
		return e
	}
	if c.Message.State == Delivering {
		e.Next = "Its answer decides: delivered, tried again later, or a dead letter."
		return e
	}
	e.explainPending(now)
	return e
}

func (c Case) stands() string {
	m, last := c.Message, c.Message.lastEvent()
	at := "at " + stamp(last.At)
	switch m.State {
	case Delivered:
		if last.Reason == ReasonAlreadyThere {
			return fmt.Sprintf("Delivered: the destination had it already, as it said %s%s.", at, answered(last))
		}
		if last.Reason == ReasonDeliveredBefore {
			return fmt.Sprintf("Delivered before: %s the drain found in its own record that the destination has it, and did not send it again.", at)
		}
		return fmt.Sprintf("Delivered %s, by attempt %d%s.", at, last.Attempt, answered(last))
	case Dead:
		kept := "whole"
		if last.Reason == ReasonDamaged {
			kept = "as far as it is there"
		}
		return fmt.Sprintf("Given up %s after %s: %s%s. It is kept %s as a dead letter.", at, times(last.Attempt), reasonText(last.Reason), answered(last), kept)
	case Superseded:
		if last.Reason == ReasonNewer {
			return fmt.Sprintf("Not delivered: replaced %s by %s, which is newer; of this route only the newest is delivered.", at, m.ReplacedBy)
		}
		return fmt.Sprintf("Replaced %s by %s, which delivers the same body.", at, m.ReplacedBy)
	case Discarded:
		return fmt.Sprintf("Discarded %s: %s%s.", at, reasonText(last.Reason), answered(last))
	case Cancelled:
		return fmt.Sprintf("Taken back %s.", at)
	case Duplicate:
		return fmt.Sprintf("Not delivered: found %s to have the key of a message that was settled before.", at)
	case Scheduled:
		return fmt.Sprintf("Accepted at %s and scheduled for %s.", stampOf(m.AcceptedAt), stampOf(m.NotBefore))
	case Delivering:
		return fmt.Sprintf("Attempt %d to deliver it is under way.", m.Attempts+1)
	case Waiting:
		if last.Ambiguous {
			return fmt.Sprintf("Waiting: an attempt was sent, and nobody knows what came of it %s: %s%s. The next one may be the second delivery.", at, reasonText(last.Reason), answered(last))
		}
		return fmt.Sprintf("Waiting since attempt %d failed %s: %s%s.", last.Attempt, at, reasonText(last.Reason), answered(last))
	}
	return fmt.Sprintf("Accepted at %s and not delivered yet.", stampOf(m.AcceptedAt))
}

// scheduled comes before what may be over by then.
func (e *Explanation) scheduled(now time.Time) (by, because, next, do string) {
	m := e.Message
	if m.State != Scheduled || m.NotBefore == nil {
		return
	}
	return BlockedByTime, fmt.Sprintf("Its sender wants it delivered not before %s; it holds up nothing until then.", stamp(*m.NotBefore)),
		fmt.Sprintf("It is due %s, and delivered as soon as its lane is free.", until(*m.NotBefore, now)), ""
}

func (e *Explanation) explainSettled() {
	id := ShellWord(e.ID)
	e.Next = "Nothing: it is settled."
	switch e.State {
	case Dead:
		e.Next = "Nothing by itself."
		if e.Message.Reason == ReasonAmbiguous {
			e.Do = append(e.Do, "Look whether the destination has it: it was sent, and no answer came; replay it only if it is not there")
		}
		e.Do = append(e.Do, "See it: foreman-relay dlq show "+id)
		if e.Message.Reason == ReasonDamaged { // a replay is refused: there is no whole body
			e.Do = append(e.Do, "Have its sender send it again, and give this one up: foreman-relay dlq discard --yes "+id)
			break
		}
		if e.Message.Reason == ReasonUndecryptable {
			e.Do = append(e.Do, "Bring the key that it names back to where it is delivered (`foreman-relay keys ls` there); what was changed on the way has to be sent again; credentials of Foreman's handshake are put right there, and the replay takes the new ones")
		}
		e.Do = append(e.Do, "Once the cause is gone, have it delivered: foreman-relay dlq replay "+id, "Or give it up: foreman-relay dlq discard --yes "+id)
	case Superseded:
		e.Do = append(e.Do, "See the one that replaced it: foreman-relay message why "+ShellWord(e.Message.ReplacedBy))
	}
}

// explainPending goes through all that may keep it; the first is what decides
// when it goes on.
func (e *Explanation) explainPending(now time.Time) {
	for _, look := range []func(time.Time) (by, because, next, do string){e.paused, e.scheduled, e.noDrain, e.circuit, e.behind, e.budget, e.waits} {
		by, because, next, do := look(now)
		if by == "" {
			continue
		}
		e.Blocked, e.Because = append(e.Blocked, by), append(e.Because, because)
		if e.Next == "" {
			e.Next = next
		}
		if do != "" && !slices.Contains(e.Do, do) {
			e.Do = append(e.Do, do)
		}
	}
	if len(e.Blocked) == 0 {
		e.explainReady()
	}
}

// explainReady is for the head of a lane that nothing keeps but the others: what
// the queue waits for before the destination, as the drain said a moment ago.
func (e *Explanation) explainReady() {
	if held := e.Queue.HeldBy; held != "" {
		e.Blocked = append(e.Blocked, held)
	}
	because := fmt.Sprintf("It is the first of its lane and waits for its turn among the others: %d pending in the queue, %d being attempted", e.Queue.Pending, e.Queue.Delivering)
	e.Next = "An attempt begins as soon as the destination is trusted with one more."
	if text := e.Queue.HeldText(); text != "" {
		because += "; " + text
	}
	switch e.Queue.HeldBy {
	case HeldByQuiet:
		e.Next = "An attempt begins once that time is over."
	case HeldByRate:
		e.Next = "An attempt begins as soon as the rate allows one."
		e.Do = append(e.Do, "If the destination bears more, raise its rate: foreman.rate")
	}
	e.Because = append(e.Because, because+".")
}

func (e *Explanation) paused(time.Time) (by, because, next, do string) {
	if !e.Queue.Paused {
		return
	}
	text := "The queue " + e.queueName() + " is paused"
	if p := e.Queue.Pause; p != nil {
		if p.By != "" {
			text += " by " + p.By
		}
		text += " since " + stamp(p.At)
		if p.Reason != "" {
			text += ": " + p.Reason
		}
	}
	return BlockedByPause, text + ".", "No attempt until the queue is resumed.", "Resume the queue: foreman-relay queue resume " + ShellWord(e.queueName())
}

func (e *Explanation) noDrain(time.Time) (by, because, next, do string) {
	if e.Queue.Drain != "" {
		return
	}
	return BlockedByNoDrain, "Nobody holds the lease of the queue " + e.queueName() + ": no drain is connected.",
		"Nothing until a drain takes the queue's lease.",
		"Start `foreman-relay drain` where the destination can be reached, or give `foreman-relay serve` its --foreman-url"
}

func (e *Explanation) circuit(now time.Time) (by, because, next, do string) {
	if e.Queue.Drain == "" || e.Queue.Breaker == "closed" {
		return
	}
	text := "The circuit to the destination is " + e.Queue.Breaker
	if s := e.Queue.BreakerSince; s != nil {
		text += fmt.Sprintf(", not closed since %s (%s)", stamp(*s), length(now.Sub(*s)))
	}
	if e.Queue.BreakerReason != "" {
		text += ", because: " + e.Queue.BreakerReason
	}
	do = "See why the destination does not answer as it should"
	if strings.Contains(e.Queue.BreakerReason, ReasonUnauthorized) || e.Message.Reason == ReasonUnauthorized {
		do = letIn
	}
	return BlockedByCircuit, text + ".", "The destination is probed every few seconds, and one attempt tries the way once it may.", do
}

// letIn is what ends ReasonUnauthorized.
const letIn = "Let the relay in at the destination; in Foreman: register a smart proxy with the feature that this route needs (Puppet for reports and facts), whose host is the name in the relay's client certificate, or add that name to trusted_hosts"

func (e *Explanation) behind(now time.Time) (by, because, next, do string) {
	a := e.Ahead
	if a == nil {
		return
	}
	count := fmt.Sprint(e.AheadCount)
	if e.AheadCount >= MaxAheadCounted {
		count += " or more"
	}
	text := fmt.Sprintf("It waits for its turn behind %s of the same lane", a.ID)
	if e.Message.Lane != "" {
		text += " (" + e.Message.Lane + ")"
	}
	text += fmt.Sprintf(", which is %s", a.State)
	if a.Reason != "" {
		text += fmt.Sprintf(" after %s: %s", times(a.Attempts), reasonText(a.Reason))
	}
	next = "Its turn comes when what is ahead of it in its lane (" + count + ") is settled."
	if a.NextAttempt != nil {
		next = fmt.Sprintf("The first of its lane is tried again %s; its turn comes when what is ahead of it (%s) is settled.", until(*a.NextAttempt, now), count)
	}
	return BlockedByLane, text + fmt.Sprintf("; ahead of it: %s.", count), next, "See the one it waits for: foreman-relay message why " + ShellWord(a.ID)
}

func (e *Explanation) waits(now time.Time) (by, because, next, do string) {
	m := e.Message
	if m.State != Waiting || m.NextAttempt == nil {
		return
	}
	if m.Reason == ReasonUnauthorized {
		do = letIn
	}
	return BlockedByWait, fmt.Sprintf("Its last attempt failed (%s), and it is not tried again before %s.", reasonText(m.Reason), stamp(*m.NextAttempt)),
		fmt.Sprintf("Attempt %d is made %s.", m.Attempts+1, until(*m.NextAttempt, now)), do
}

// budget is of a head that is due; one that is not yet is waiting.
func (e *Explanation) budget(now time.Time) (by, because, next, do string) {
	m := e.Message
	if m.State != Waiting || m.NextAttempt == nil || m.NextAttempt.After(now) || e.Queue.RetriesHeld == 0 {
		return
	}
	return BlockedByBudget, fmt.Sprintf("Its next attempt has been due since %s, and is held back: too many retries fail at the destination, and they may be a part of the traffic only. So are held: %d in this queue.",
			stamp(*m.NextAttempt), e.Queue.RetriesHeld),
		fmt.Sprintf("Attempt %d is made in its turn, when the retry budget has one more (foreman.retry_percent, foreman.retry_floor).", m.Attempts+1),
		"See what fails: foreman-relay message ls --state waiting"
}

func (e *Explanation) queueName() string { return e.Queue.Queue().String() }

func (m *MessageStatus) lastEvent() EventStatus {
	if len(m.Events) == 0 {
		return EventStatus{}
	}
	return m.Events[len(m.Events)-1]
}

func answered(e EventStatus) string {
	switch {
	case e.Status != 0 && e.Detail != "":
		return fmt.Sprintf(", answer %d: %s", e.Status, e.Detail)
	case e.Status != 0:
		return fmt.Sprintf(", answer %d", e.Status)
	case e.Detail != "":
		return ": " + e.Detail
	default:
		return ""
	}
}

func reasonText(reason string) string {
	if reason == "" {
		return "no reason is recorded"
	}
	return reason
}

func times(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func stampOf(t *time.Time) string {
	if t == nil {
		return "a time that is not known any more"
	}
	return stamp(*t)
}

// until is a time to come, and how long that is.
func until(t, now time.Time) string {
	if !t.After(now) {
		return "at once"
	}
	return "at " + stamp(t) + ", in " + length(t.Sub(now))
}

func length(d time.Duration) string {
	if d < time.Second {
		return "less than a second"
	}
	return d.Round(time.Second).String()
}
