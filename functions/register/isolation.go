package register

import (
	"context"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/registry"
)

// isolation tells the quarantines, also to a watcher that has waited since its caller was judged. While nothing is
// in quarantine it is nil, so that a look-up costs nothing more.
func (s *Service) isolation(ctx context.Context) registry.Isolation {
	st, err := s.trust.State(ctx)
	if err != nil {
		st = s.trust.Latest() // discovery outlives the store
	}
	if st != nil && st.AnyQuarantined() {
		return isolated{st}
	}
	return nil
}

type isolated struct{ trust *trust.State }

// Isolated implements registry.Isolation.
func (i isolated) Isolated(service string) (since time.Time, ok bool) {
	subject, err := auth.ParseSubject(service)
	if err != nil {
		return time.Time{}, false
	}
	q, ok := i.trust.Quarantine(subject)
	return q.Since, ok
}
