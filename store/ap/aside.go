package ap

import "time"

// asideFor is how long a source leaves it to others to send what they have written.
const asideFor = 20 * time.Millisecond

// aside is what a source has to say of others' writes only. Their authors send them to
// the peer, too, and as a rule at once, so it waits a little for the peer to say that it
// has them: else each write would reach each member from every other. Own writes never
// wait, and all that lies before them in the log goes with them.
type aside struct {
	position uint64 // in the log, of the first of them
	since    time.Time
	due      bool // nobody else sends them: what follows goes, too, until nothing is left
}

// wait returns how long the write at this position, the first that the peer has not
// confirmed, is still put aside.
func (a *aside) wait(position uint64, now time.Time) time.Duration {
	if a.due {
		return 0
	}
	if position != a.position {
		a.position, a.since = position, now
	}
	left := asideFor - now.Sub(a.since)
	a.due = left <= 0
	return left
}

// none notes that nothing is left to send.
func (a *aside) none() { a.due = false }
