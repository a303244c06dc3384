package device

import (
	"slices"
	"time"

	"satchel/layers/workspace"
	"satchel/syncer/publication"
)

// switches sees to it that workspaces go over to what was assigned when the
// assignment says, and lists in the report those whose guests have to be stopped
// for it. What publishers say has to be known.
func (p *pass) switches() error {
	here, _ := p.definitions() // what cannot be read was an error of the sync
	for i := range here {
		def := &here[i]
		a, ok := p.assignmentOf(def)
		if !ok {
			continue
		}
		rec, err := p.opt.Workspaces.LoadHealth(def.Name)
		if err != nil {
			return err
		}
		later, err := a.SwitchAt(a.Time)
		if err != nil {
			return err
		}
		now := time.Now()
		if !later.IsZero() && !now.Before(later) {
			p.report.Switch = append(p.report.Switch, def.Name)
		}
		if later = later.UTC().Truncate(time.Second); later.Before(now) {
			later = time.Time{} // it has come: there is nothing to wait for
		} else if p.due.IsZero() || later.Before(p.due) {
			p.due = later
		}
		if rec.Later.Equal(later) {
			continue
		}
		err = p.opt.Workspaces.UpdateHealth(def.Name, func(rec *workspace.Health) error { rec.Later = later; return nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// assignmentOf returns the assignment that a workspace is of, while it holds.
func (p *pass) assignmentOf(def *workspace.Definition) (publication.Assigned, bool) {
	for _, w := range p.state.Workspaces {
		if w.ID == def.ID && def.ID != "" && slices.Contains(p.state.Assignments, w.Assignment) {
			a, ok := p.log.Assignments[w.Assignment]
			return a, ok
		}
	}
	return publication.Assigned{}, false
}
