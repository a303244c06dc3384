package device

import (
	"context"
	"reflect"
	"slices"

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
	var err error
	if said.Disk, err = p.diskReport(); err != nil {
		return err
	}
	untold := map[string][]workspace.Verdict{}
	here, _ := p.definitions() // what cannot be read was an error of the sync
	for i := range here {
		verdicts, err := p.opt.Workspaces.Verdicts(here[i].Name)
		if err != nil {
			return err
		}
		w, err := p.workspaceReport(ctx, &here[i], verdicts)
		if err != nil {
			return err
		}
		said.Workspaces = append(said.Workspaces, w)
		for _, v := range verdicts {
			if v.Outcome == workspace.Failed && !v.Told && !v.Version.IsZero() {
				untold[v.Workspace] = append(untold[v.Workspace], v)
			}
		}
	}
	if len(untold) == 0 && p.memo.Told != nil && reflect.DeepEqual(*p.memo.Told, said) {
		return nil
	}
	standing := said
	for _, failed := range untold {
		for _, v := range failed {
			said.Failed = append(said.Failed, syncer.Failure{Layer: v.Layer, Version: v.Version, Reason: v.Reason, Time: v.Time})
		}
	}
	if err := p.server().Report(ctx, said); err != nil {
		return err
	}
	p.memo.Told = &standing
	for name, failed := range untold {
		if err := p.opt.Workspaces.MarkTold(name, failed); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) workspaceReport(ctx context.Context, def *workspace.Definition, verdicts []workspace.Verdict) (syncer.WorkspaceReport, error) {
	w := syncer.WorkspaceReport{ID: def.ID, Name: def.Name, Ready: true}
	for _, place := range def.Stack() {
		if place.Kind != layers.OS && place.Kind != layers.Group {
			continue
		}
		head, err := p.opt.Store.Heads().Head(ctx, place.ID)
		if err != nil {
			return w, err
		}
		lacking, err := p.lacking(ctx, head.Version)
		if err != nil {
			return w, err
		}
		w.Ready = w.Ready && !head.Version.IsZero() && !lacking
		healthy := slices.ContainsFunc(verdicts, func(v workspace.Verdict) bool {
			return v.Outcome == workspace.Good && v.Layer == place.ID && v.Version == head.Version
		})
		w.Layers = append(w.Layers, syncer.LayerUse{Layer: place.ID, Version: head.Version, Healthy: healthy})
	}
	return w, nil
}
