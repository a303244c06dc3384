package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows how far long work is: a bar on a terminal, a plain line
// every few seconds otherwise, nothing with --json off a terminal.
type progress struct {
	app    *app
	name   string
	bar    *progressbar.ProgressBar
	lines  bool
	spoken time.Time
}

// watched reports whether a person looks on.
func (a *app) watched() bool {
	f, ok := a.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// pace is how often plain lines are written.
const pace = 5 * time.Second

func (a *app) progress(name string) *progress {
	p := &progress{app: a, name: name, spoken: time.Now()}
	switch {
	case a.watched():
		p.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(name),
			progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(true))
	case !a.json:
		p.lines = true
	}
	return p
}

// set tells how many bytes are done, and of how many: 0 when that is not known.
func (p *progress) set(done, total int64) {
	switch {
	case p.bar != nil:
		if total > 0 {
			p.bar.ChangeMax64(total)
		}
		p.bar.Set64(done) //nolint:errcheck // a bar that cannot be drawn is no reason to stop
	case p.lines && time.Since(p.spoken) >= pace:
		p.spoken = time.Now()
		p.app.note("%s: %s%s", p.name, size(done), of(total))
	}
}

func of(total int64) string {
	if total <= 0 {
		return ""
	}
	return " of " + size(total)
}

func (p *progress) done() {
	if p.bar != nil {
		p.bar.Finish() //nolint:errcheck // see set
	}
}
