package relay

import "time"

// busyRetry is suggested where all places are taken.
const busyRetry = time.Second

// PassPlaces bound the requests that are passed on at one time. Those whose answer
// is streamed take half of the places at most: slow downloads do not keep nodes
// out.
type PassPlaces struct {
	all     chan struct{}
	streams chan struct{}
}

// NewPassPlaces makes so many places.
func NewPassPlaces(n int) *PassPlaces {
	return &PassPlaces{all: make(chan struct{}, n), streams: make(chan struct{}, max(1, n/2))}
}

// Enter takes a place until leave is called, once, or says at once that there is
// none: an *Error that wraps ErrBusy.
func (p *PassPlaces) Enter(whole bool) (leave func(), err error) {
	places := []chan struct{}{p.all}
	if !whole {
		places = append(places, p.streams)
	}
	for i, place := range places {
		select {
		case place <- struct{}{}:
		default:
			give(places[:i])
			return nil, &Error{Code: CodeAway, RetryAfter: busyRetry, Err: ErrBusy,
				Detail: "as many requests as may be are being passed on; try again"}
		}
	}
	return func() { give(places) }, nil
}

// Taken is how many places are taken, and how many of these by streams.
func (p *PassPlaces) Taken() (all, streams int) { return len(p.all), len(p.streams) }

func give(places []chan struct{}) {
	for _, place := range places {
		<-place
	}
}
