package device

import (
	"maps"
	"time"

	"satchel/store"
	"satchel/store/durable"
	"satchel/syncer"
)

// A memo is what was last heard from the server, and how things stood after the
// last sync. It can be found out again.
type memo struct {
	durable.Header
	State  syncer.State `json:"state"`
	Heard  time.Time    `json:"heard"`  // when the server last answered
	Synced time.Time    `json:"synced"` // when all was in sync; zero: never
	// Bases are the heads that both sides had.
	Bases map[store.LayerID]store.ID `json:"bases"`
	// Workspaces are the workspaces as both sides had them, by ID.
	Workspaces map[string]syncer.Workspace `json:"workspaces"`
	// Told is what the server was told last.
	Told *syncer.Report `json:"told,omitempty"`
	// Short is the disk as the last sync left it, if something did not fit.
	Short *syncer.Disk `json:"short,omitempty"`
}

const memoFormat = "satchel sync"

// loadMemo reads the memo. One that is damaged, missing or of another version
// is as good as none.
func (d *Device) loadMemo() *memo {
	m := &memo{}
	if err := durable.ReadJSON(d.path(memoFile), durable.Header{Format: memoFormat, Version: formatVersion}, m); err != nil || m.State.Server != d.membership().Server {
		m = &memo{}
	}
	m.Header = durable.Header{Format: memoFormat, Version: formatVersion}
	if m.Bases == nil {
		m.Bases = map[store.LayerID]store.ID{}
	}
	if m.Workspaces == nil {
		m.Workspaces = map[string]syncer.Workspace{}
	}
	return m
}

// saveMemo writes what a pass has learnt.
func (p *pass) saveMemo() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.memo.State = p.state
	known := map[store.LayerID]bool{}
	for _, l := range p.state.Layers {
		known[l.ID] = true
	}
	maps.DeleteFunc(p.memo.Bases, func(id store.LayerID, _ store.ID) bool { return !known[id] })
	return durable.WriteJSON(p.path(memoFile), p.memo)
}
