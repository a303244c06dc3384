package workspace

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"satchel/layers"
	"satchel/store"
)

// MaxName is the longest name of a workspace, in bytes.
const MaxName = 64

// MaxGroups bounds how many group layers a workspace may stack.
const MaxGroups = 64

// A Layer refers to a layer of the home's store. The ID decides; the name is
// what it was called when it was last looked up.
type Layer struct {
	ID   store.LayerID `json:"id"`
	Name string        `json:"name"`
}

// A Definition says what a workspace is made of.
type Definition struct {
	Name string `json:"name"`
	// ID names the workspace for good, on all devices: 32 hexadecimal digits.
	// Workspaces made before there were IDs have none.
	ID       string    `json:"id,omitempty"`
	Created  time.Time `json:"created"`
	OS       Layer     `json:"os"`
	Groups   []Layer   `json:"groups"` // lowest first
	Personal Layer     `json:"personal"`
	System   Layer     `json:"system"`
	Local    Layer     `json:"local"`
	Data     Layer     `json:"data"`
	Options  Options   `json:"options"`
}

// A Place is one layer of a stack.
type Place struct {
	Kind layers.Kind
	Layer
}

// Stack returns the workspace's layers, lowest first.
func (d *Definition) Stack() []Place {
	stack := []Place{{layers.OS, d.OS}}
	for _, g := range d.Groups {
		stack = append(stack, Place{layers.Group, g})
	}
	return append(stack,
		Place{layers.Personal, d.Personal}, Place{layers.System, d.System},
		Place{layers.Local, d.Local}, Place{layers.Data, d.Data})
}

// Check reports what makes a definition impossible.
func (d *Definition) Check() error {
	if err := CheckName(d.Name); err != nil {
		return err
	}
	if !validID(d.ID) {
		return fmt.Errorf("workspace %s has the ID %.70q: want 32 hexadecimal digits in lower case", d.Name, d.ID)
	}
	if len(d.Groups) > MaxGroups {
		return fmt.Errorf("workspace %s has %d group layers: at most %d are possible", d.Name, len(d.Groups), MaxGroups)
	}
	if err := d.Options.check(); err != nil {
		return fmt.Errorf("workspace %s: %w", d.Name, err)
	}
	seen := make(map[store.LayerID]layers.Kind)
	for _, p := range d.Stack() {
		if p.ID.IsZero() {
			return fmt.Errorf("workspace %s has no %s layer", d.Name, p.Kind)
		}
		if other, twice := seen[p.ID]; twice {
			return fmt.Errorf("workspace %s has layer %s twice, as %s and as %s", d.Name, p.Name, other, p.Kind)
		}
		seen[p.ID] = p.Kind
	}
	return nil
}

// newID returns an ID that no other workspace has.
func newID() string {
	var id [idBytes]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

const idBytes = 16

// validID reports whether id is one, or none.
func validID(id string) bool {
	return id == "" || len(id) == hex.EncodedLen(idBytes) && strings.Trim(id, "0123456789abcdef") == ""
}

var errName = errors.New("want 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit")

// CheckName reports whether a workspace may be called so.
func CheckName(name string) error {
	const (
		first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		rest  = first + "._-"
	)
	ok := name != "" && len(name) <= MaxName && strings.Contains(first, name[:1])
	for i := range len(name) {
		ok = ok && strings.IndexByte(rest, name[i]) >= 0
	}
	if !ok {
		return fmt.Errorf("workspace name %.80q: %w", name, errName)
	}
	return nil
}
