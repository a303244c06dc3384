package device

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/store"
	"satchel/syncer"
)

// workspaces brings the definitions of workspaces to the same state on both
// sides. What keeps one from it is noted; the error joins what failed.
func (p *pass) workspaces(ctx context.Context) error {
	here, errs := p.definitions()
	names := map[string]bool{}
	for _, def := range here {
		names[def.Name] = true
		if !p.wants(def.Name) {
			continue
		}
		if err := p.retry(ctx, func() error { return p.match(ctx, def) }); err != nil {
			errs = append(errs, fmt.Errorf("workspace %s: %w", def.Name, err))
		}
	}
	here, _ = p.definitions() // they may have got names and IDs just now
	for _, r := range p.state.Workspaces {
		names[r.Name] = true
		_, before := p.memo.Workspaces[r.ID]
		named := slices.Contains(p.names, r.Name)
		switch {
		case slices.ContainsFunc(here, func(d workspace.Definition) bool { return d.ID == r.ID }):
		case !p.wants(r.Name):
		case before && !named: // removed here
		default:
			if err := p.create(ctx, r); err != nil {
				errs = append(errs, fmt.Errorf("workspace %s: %w", r.Name, err))
			}
		}
	}
	for _, name := range p.names {
		if !names[name] {
			errs = append(errs, fmt.Errorf("workspace %s %w, here or on the server", name, store.ErrNotExist))
		}
	}
	return errors.Join(errs...)
}

// retry tries again with what the server has now when another device was
// faster.
func (p *pass) retry(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if !errors.Is(err, store.ErrMoved) || try == maxTries {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
		if err := p.refresh(ctx); err != nil {
			return err
		}
	}
}

func (p *pass) wants(name string) bool { return len(p.names) == 0 || slices.Contains(p.names, name) }

// definitions reads all workspaces that are here. Those that cannot be read are
// left out, and are errors.
func (p *pass) definitions() (here []workspace.Definition, errs []error) {
	names, err := p.opt.Workspaces.List()
	if err != nil {
		return nil, []error{err}
	}
	for _, name := range names {
		def, err := p.opt.Workspaces.Load(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		here = append(here, def)
	}
	return here, errs
}

// match syncs a workspace that is here.
func (p *pass) match(ctx context.Context, def workspace.Definition) error {
	i := slices.IndexFunc(p.state.Workspaces, func(w syncer.Workspace) bool { return w.ID == def.ID && def.ID != "" })
	base, before := p.memo.Workspaces[def.ID]
	switch {
	case i >= 0:
		return p.reconcile(ctx, def, p.state.Workspaces[i], base, before)
	case before && def.ID != "":
		p.note("workspace %s was removed on the server; it stays here (satchel workspace rm %s removes it)", def.Name, def.Name)
		return nil
	}
	return p.put(ctx, def, 0)
}

// reconcile decides which side of a workspace that is on both sides goes.
func (p *pass) reconcile(ctx context.Context, def workspace.Definition, r, base syncer.Workspace, before bool) error {
	l := project(&def)
	switch {
	case same(&l, &r):
		p.memo.Workspaces[r.ID] = r
		return nil
	case before && same(&base, &r) && r.Assignment == "":
		return p.put(ctx, def, r.Revision)
	case r.Assignment != "":
		p.note("workspace %s is as it was assigned", def.Name)
	case !before || !same(&base, &l):
		p.note("workspace %s was changed here and on the server; the server's choice of layers and options was taken", def.Name)
	}
	return p.take(ctx, def, r)
}

// project returns what the server keeps of a workspace.
func project(d *workspace.Definition) syncer.Workspace {
	w := syncer.Workspace{
		ID: d.ID, Name: d.Name, OS: d.OS.ID, Personal: d.Personal.ID, System: d.System.ID, Data: d.Data.ID, Options: d.Options,
	}
	for _, g := range d.Groups {
		w.Groups = append(w.Groups, g.ID)
	}
	return w
}

// same reports whether two workspaces agree in all that people choose.
func same(a, b *syncer.Workspace) bool {
	return a.ID == b.ID && a.Name == b.Name && a.OS == b.OS && slices.Equal(a.Groups, b.Groups) &&
		a.Personal == b.Personal && a.System == b.System && a.Data == b.Data &&
		a.Options.Memory == b.Options.Memory && a.Options.CPUs == b.Options.CPUs && slices.Equal(a.Options.Rules, b.Options.Rules) &&
		a.Options.Health == b.Options.Health && maps.Equal(a.Options.Reset, b.Options.Reset)
}

// create makes a workspace of the server's here.
func (p *pass) create(ctx context.Context, r syncer.Workspace) error {
	if _, err := p.opt.Workspaces.Load(r.Name); err == nil {
		p.note("the server has another workspace called %s; it comes here once this one is renamed: satchel workspace rename %s NEW", r.Name, r.Name)
		return nil
	}
	if err := p.assigned(&r); err != nil {
		return err
	}
	def := workspace.Definition{ID: r.ID, Name: r.Name}
	err := p.fill(ctx, &def, r)
	if err == nil {
		def.Local, err = p.localLayer(ctx, r.Name)
	}
	if err == nil {
		err = p.opt.Workspaces.Create(def)
	}
	if err != nil {
		return err
	}
	p.memo.Workspaces[r.ID] = r
	p.changed(r.Name)
	return nil
}

// take gives a workspace that is here the server's layers, options and name.
func (p *pass) take(ctx context.Context, def workspace.Definition, r syncer.Workspace) error {
	if err := p.assigned(&r); err != nil {
		return err
	}
	next := def
	if err := p.fill(ctx, &next, r); err != nil {
		return err
	}
	err := p.opt.Workspaces.Update(def.Name, func(d *workspace.Definition) error {
		d.OS, d.Groups, d.Personal, d.System, d.Data, d.Options = next.OS, next.Groups, next.Personal, next.System, next.Data, next.Options
		return nil
	})
	if err != nil {
		return err
	}
	p.changed(def.Name)
	if def.Name == r.Name {
		p.memo.Workspaces[r.ID] = r
		return nil
	}
	switch err := p.opt.Workspaces.Rename(def.Name, r.Name); {
	case errors.Is(err, store.ErrExist):
		p.note("workspace %s is called %s on the server, but another is called so here: satchel workspace rename %s NEW", def.Name, r.Name, r.Name)
		return nil
	case errors.Is(err, store.ErrBusy), errors.Is(err, workspace.ErrUncaptured):
		p.note("workspace %s is called %s on the server; it is renamed once its session has ended", def.Name, r.Name)
		return nil
	case err != nil:
		return err
	}
	p.note("workspace %s is called %s now", def.Name, r.Name)
	p.memo.Workspaces[r.ID] = r
	for i, name := range p.names {
		if name == def.Name {
			p.names[i] = r.Name
		}
	}
	return nil
}

// fill sets the layers and options of a definition to those that the server
// has, and adds the layers that are not here.
func (p *pass) fill(ctx context.Context, def *workspace.Definition, r syncer.Workspace) (err error) {
	set := func(kind layers.Kind, id store.LayerID, l *workspace.Layer) {
		if err == nil {
			*l, err = p.layerHere(ctx, kind, id)
		}
	}
	def.Options, def.Groups = r.Options, make([]workspace.Layer, len(r.Groups))
	set(layers.OS, r.OS, &def.OS)
	for i, id := range r.Groups {
		set(layers.Group, id, &def.Groups[i])
	}
	set(layers.Personal, r.Personal, &def.Personal)
	set(layers.System, r.System, &def.System)
	set(layers.Data, r.Data, &def.Data)
	return err
}

// put tells the server of a workspace: a new one, or a change of the given
// revision.
func (p *pass) put(ctx context.Context, def workspace.Definition, revision uint64) error {
	taken := func(w syncer.Workspace) bool { return w.Name == def.Name && w.ID != def.ID }
	if slices.ContainsFunc(p.state.Workspaces, taken) {
		p.noteTaken(def.Name)
		return nil
	}
	for _, place := range def.Stack() {
		ok, err := p.layerThere(ctx, place)
		if err != nil {
			return err
		}
		if !ok {
			p.note("workspace %s stays on this device until its %s layer %s is on the server: a publisher sends it with satchel publish %s",
				def.Name, place.Kind, place.Name, place.Name)
			return nil
		}
	}
	if def.ID == "" {
		def.ID = newID()
		if err := p.opt.Workspaces.Update(def.Name, func(d *workspace.Definition) error { d.ID = def.ID; return nil }); err != nil {
			return err
		}
	}
	w := project(&def)
	w.Revision = revision
	got, err := p.server().PutWorkspace(ctx, w)
	if errors.Is(err, store.ErrExist) {
		p.noteTaken(def.Name)
		return nil
	}
	if err != nil {
		return err
	}
	p.remember(got)
	p.changed(def.Name)
	return nil
}

func (p *pass) noteTaken(name string) {
	p.note("workspace %s stays on this device, since another is called so on the server: satchel workspace rename %s NEW", name, name)
}

// remember notes a workspace as the server has it now.
func (p *pass) remember(w syncer.Workspace) {
	p.memo.Workspaces[w.ID] = w
	i := slices.IndexFunc(p.state.Workspaces, func(o syncer.Workspace) bool { return o.ID == w.ID })
	if i >= 0 {
		p.state.Workspaces[i] = w
	} else {
		p.state.Workspaces = append(p.state.Workspaces, w)
	}
}

// newID returns the ID of a workspace.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(b[:])
}
