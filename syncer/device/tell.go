package device

import (
	"context"
	"reflect"

	"satchel/layers"
	"satchel/layers/workspace"
	"satchel/syncer"
)

// tell reports to the server how the workspaces stand, if it was not told so
// before. Servers without publications are told nothing.
func (p *pass) tell(ctx context.Context) error {
	if p.state.Published == 0 || p.names != nil && len(p.names) == 0 {
		return nil
	}
	said := syncer.Report{Workspaces: []syncer.WorkspaceReport{}}
	here, _ := p.definitions() // what cannot be read was an error of the sync
	for i := range here {
		w, err := p.workspaceReport(ctx, &here[i])
		if err != nil {
			return err
		}
		said.Workspaces = append(said.Workspaces, w)
	}
	if p.memo.Told != nil && reflect.DeepEqual(*p.memo.Told, said) {
		return nil
	}
	if err := p.server().Report(ctx, said); err != nil {
		return err
	}
	p.memo.Told = &said
	return nil
}

func (p *pass) workspaceReport(ctx context.Context, def *workspace.Definition) (syncer.WorkspaceReport, error) {
	w := syncer.WorkspaceReport{ID: def.ID, Name: def.Name, Ready: true}
	for _, place := range def.Stack() {
		if place.Kind != layers.OS && place.Kind != layers.Group {
			continue
		}
		head, err := p.opt.Store.Heads().Head(ctx, place.ID)
		if err != nil {
			return w, err
		}
		w.Ready = w.Ready && !head.Version.IsZero()
		w.Layers = append(w.Layers, syncer.LayerUse{Layer: place.ID, Version: head.Version})
	}
	return w, nil
}
