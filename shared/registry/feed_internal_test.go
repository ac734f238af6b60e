package registry

import (
	"context"
	"iter"

	"github.com/isectech/service-networking/shared/store"
)

// feed is a store of which only the changes are asked for.
type feed []store.Document

func (f feed) Changes(_ context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for _, d := range f {
			if d.Ref.Collection == collection && d.Position() > since && !yield(d, nil) {
				return
			}
		}
	}
}

func (feed) Get(context.Context, store.Ref) (store.Document, error) { panic("not asked for") }

func (feed) GetAll(context.Context, []store.Ref) ([]store.Document, error) { panic("not asked for") }

func (feed) Query(context.Context, store.Query) (store.Page, error) { panic("not asked for") }

func (feed) Commit(context.Context, store.Batch) ([]store.Document, error) { panic("not asked for") }
