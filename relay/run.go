package relay

// Started is the state of the event with which a run of the edge begins in the
// record of a queue. It is no message's: Sequence is the last one that the
// journal held then, Reach the last one that an attempt may have been begun for,
// and Reason how the run before it ended.
const Started State = "started"

// How a run of the edge ended.
const (
	ReasonStopped = "stopped" // in order, or its store was started anew within it: nothing that was recorded is lost
	ReasonCutOff  = "cut_off" // without a word: what was recorded since the last barrier may be lost
)

// maxRuns bounds how many runs an account tells apart; the oldest goes first. An
// event would have to be that many starts of the edge late to be missed, each of
// them with new messages behind it.
const maxRuns = 256

// runStart says that the sequences above Last were given in this run or later.
type runStart struct {
	Run  uint64 `json:"run"`
	Last uint64 `json:"last"`
}

// runs tells the messages that had one sequence apart. A power cut takes the end
// of a journal, and its sequences are given again; so an event that was written
// by a drain that knew an earlier run, for a sequence that the journal did not
// hold any more when a later one began, is about a message that is gone.
// Ascending by run and by last sequence.
type runs []runStart

// begin adds a run. A number that is not above the last one says that the
// counter was lost (it is not where the disk keeps what it was told): then
// nothing of before can be told apart, and nothing is refused for it.
func (r runs) begin(next runStart, floor uint64) runs {
	var kept runs
	if len(r) > 0 && next.Run > r[len(r)-1].Run {
		for i, s := range r {
			until := next.Last // from there on later runs refuse as much
			if i+1 < len(r) {
				until = min(until, r[i+1].Last)
			}
			if s.Last < next.Last && until > floor { // else all that it could refuse is settled
				kept = append(kept, s)
			}
		}
	}
	kept = append(kept, next)
	return kept[max(0, len(kept)-maxRuns):]
}

// refuses says whether an event is about a message that is gone.
func (r runs) refuses(e Event) bool {
	if e.Run == 0 { // of the edge itself, or older than runs are
		return false
	}
	for _, s := range r {
		if s.Run > e.Run && e.Sequence > s.Last {
			return true
		}
	}
	return false
}
