package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"satchel/layers"
	"satchel/layers/repo"
	"satchel/store"
	"satchel/store/durable"
	"satchel/syncer/publication"
)

// ErrNoSigner reports a home without a publisher's key.
var ErrNoSigner = errors.New("this home has no publisher's key: satchel publisher init makes one")

// ErrNoChannel reports a layer that publishers do not publish.
var ErrNoChannel = errors.New("only os and group layers have channels")

// signer reads the publisher's key of the home, or fails with [ErrNoSigner].
func (d *Device) signer() (*publication.PrivateKey, error) {
	pem, err := os.ReadFile(d.path(signerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoSigner
	}
	if err != nil {
		return nil, fmt.Errorf("the publisher's key: %w", err)
	}
	key, err := publication.ParseKey(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(signerFile), err)
	}
	return key, nil
}

// Signer returns the public half of the publisher's key of the home, and makes
// one if there is none.
func (d *Device) Signer() (publication.Key, error) {
	key, err := d.signer()
	if !errors.Is(err, ErrNoSigner) {
		if err != nil {
			return publication.Key{}, err
		}
		return key.Public(), nil
	}
	if key, err = publication.NewKey(); err != nil {
		return publication.Key{}, err
	}
	pem, err := key.MarshalPEM()
	if err != nil {
		return publication.Key{}, err
	}
	return key.Public(), durable.WriteFile(d.path(signerFile), pem)
}

// Say signs a statement with the home's key and hands it in. It fails with
// [ErrNoSigner], and with [syncer.ErrMalformed] when the key is not one of this
// domain's, or devices would not follow what it says.
func (d *Device) Say(ctx context.Context, what publication.Content) (entry publication.Entry, err error) {
	key, err := d.signer()
	if err != nil {
		return entry, err
	}
	_, err = d.sync(ctx, func(ctx context.Context, p *pass) error {
		p.names = []string{} // of no workspace
		return p.retry(ctx, func() error {
			entry, err = p.say(ctx, key, what)
			return err
		})
	})
	return entry, err
}

func (p *pass) say(ctx context.Context, key *publication.PrivateKey, what publication.Content) (entry publication.Entry, err error) {
	if p.unheard != nil {
		return entry, p.unheard
	}
	log := p.log
	if log == nil {
		log = &publication.Log{}
	}
	what.Time = time.Now().UTC().Truncate(time.Second)
	said, err := publication.Sign(key, log, what)
	if err != nil {
		return entry, err
	}
	if err := log.Clone().Append(said); err != nil {
		return entry, err
	}
	if err := p.server().Publish(ctx, said); err != nil {
		return entry, err
	}
	entry, _, err = said.Open()
	return entry, errors.Join(err, p.refresh(ctx))
}

// Log returns what publishers have said, as far as this device was shown.
func (d *Device) Log(ctx context.Context) (log *publication.Log, err error) {
	_, err = d.sync(ctx, func(_ context.Context, p *pass) error {
		p.names = []string{}
		if log = p.log; log == nil {
			log = &publication.Log{}
		}
		return nil
	})
	return log, err
}

// Release is how a version is published.
type Release struct {
	Layer    string // here
	Version  string // digits of it; "": the head
	Channel  string
	Back     bool
	Waves    []int
	StopAt   int
	WaveWait time.Duration
}

// Release moves a channel to a version that the server has. It fails with
// [ErrNoChannel], [ErrNoSigner], [publication.ErrDowngrade] or
// [publication.ErrWithdrawn].
func (d *Device) Release(ctx context.Context, r Release) (publication.Publish, error) {
	ref := r.Layer
	if r.Version != "" {
		ref += "@" + r.Version
	}
	at, err := d.opt.Repo.Resolve(ctx, ref)
	if err != nil && !errors.Is(err, repo.ErrPartial) {
		return publication.Publish{}, err
	}
	if at.Version.Kind != layers.OS && at.Version.Kind != layers.Group {
		return publication.Publish{}, fmt.Errorf("layer %s is of kind %s: %w", r.Layer, at.Version.Kind, ErrNoChannel)
	}
	number, err := d.opt.Repo.Number(ctx, at.ID)
	if err != nil {
		return publication.Publish{}, err
	}
	p := publication.Publish{
		Layer: at.Head.Layer, Channel: r.Channel, Version: at.ID, Number: number,
		Back: r.Back, Waves: r.Waves, StopAt: r.StopAt, WaveWait: int64(r.WaveWait / time.Second),
	}
	_, err = d.Say(ctx, publication.Content{Publish: &p})
	if errors.Is(err, store.ErrNotExist) {
		err = fmt.Errorf("%w (satchel publish %s sends it)", err, r.Layer)
	}
	return p, err
}
